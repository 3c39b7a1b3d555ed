"""What every result must do; a new one is tested by being there."""

import csv
import importlib
import json
import math
import pkgutil
import re
import tempfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

import semirobust
import semirobust as sr
from semirobust.core.shown import RESULTS, AbstractResult, read_result
from semirobust.core.table import Table
from semirobust.experiments.saved_result import SavedResult
from tests.helpers import SmallResidual

EVIL = "<script>alert('x')</script>&\"=1+1\x1b[31m"


def _kinds() -> list[type[AbstractResult]]:
    """All classes of results of the package, found by importing all of it."""
    for module in pkgutil.walk_packages(semirobust.__path__, "semirobust."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = [], [AbstractResult]
    while left:
        kinds = left.pop().__subclasses__()
        left += kinds
        found += [kind for kind in kinds if kind.__module__.startswith("semirobust.")]
    return sorted(set(found), key=lambda kind: kind.__name__)


@cache
def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return SmallResidual().eval()


@cache
def _images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(24, 3, 8, 8, generator=generator), torch.arange(24) % 3


def _many() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = _images()
    return torch.cat([x, x**2, 1 - x]), y.repeat(3)


def _trained(epochs: int = 2):
    torch.manual_seed(0)
    training = sr.Training(attack=sr.FGSM(sr.Linf(0.01)), epochs=epochs, batch_size=12)
    images = sr.images_from_tensors(*_images())
    return training(SmallResidual(), images, validate=lambda model, seed: {"clean": 0.5, "robust": 0.25})


def _levels():
    torch.manual_seed(0)
    training = sr.Training(attack=sr.FGSM(sr.Linf(0.01)), epochs=1, batch_size=12)
    images = sr.images_from_tensors(*_images())
    return sr.Lottery(levels=1)(
        SmallResidual(), images, training, validate=lambda m, s: {"clean": 0.5, "robust": 0.25}
    )


def _recovered():
    from semirobust.procedures.recovery import Recovery

    torch.manual_seed(0)
    training = sr.Training(attack=sr.FGSM(sr.Linf(0.01)), epochs=1, batch_size=12)
    images = sr.images_from_tensors(*_images())
    recovery = Recovery(layers=1, training=training)
    score = lambda model, seed: {"clean": 0.5, "robust": 0.25}  # noqa: E731
    return recovery(SmallResidual(), SmallResidual(), images, score)


@cache
def _run():
    """A run folder is read, and then it may go."""
    with tempfile.TemporaryDirectory() as folder:
        from semirobust.experiments import build_subject, harden_subject, read_recipe, train

        small = {"model.name": "resnet8", "model.width": 0.25, "data.train": 60, "data.test": 10}
        few = {"harden.epochs": 1, "harden.attack": "pgd-1", "train.epochs": 1, "train.attack": "fgsm"}
        more = {"evaluate.attacks": ["fgsm"], "evaluate.checks": 0, "profile.examples": 10}
        base, hard = Path(folder, "base"), Path(folder, "hard")
        train(read_recipe(None, small | few | more), base)
        subject = build_subject(str(base), None, None, None, {"harden.controls": True})
        harden_subject(subject, hard)
        KEPT.append(sr.compare(hard))
        return sr.load_run(hard)


KEPT = []


def _compared():
    _run()
    return KEPT[0]


SAMPLES = {
    "Audit": lambda: sr.audit(_model(), _images(), sr.Linf(0.01), minutes=0.001),
    "Checks": lambda: sr.sanity_checks(_model(), *(part[:2] for part in _images()), sr.Linf(0.01)),
    "ConnectivityResult": lambda: sr.connectivity(_model(), *_many(), dependence=sr.CKA()),
    "CriticalityResult": lambda: sr.criticality(_model(), *_images(), threat=sr.Linf(0.01)),
    "Estimate": lambda: sr.CKA()(_images()[0].flatten(1), _images()[0].flatten(1) ** 2),
    "Evaluation": lambda: sr.evaluate(_model(), *_images(), {EVIL: sr.FGSM(sr.Linf(0.01))}),
    "LayerMap": lambda: sr.layer_map(_model(), _images()[0]),
    "LayerScores": lambda: sr.criticality(_model(), *_images(), threat=sr.Linf(0.01)).scores(),
    "Levels": _levels,
    "Masks": lambda: sr.Masks.full(_model(), sr.layer_map(_model(), _images()[0])),
    "PerformanceBounds": lambda: sr.performance_bounds(_model(), _model(), *_images(), [1]),
    "Recovered": _recovered,
    "StabilityResult": lambda: sr.stability(
        _model(), *_images(), threat=sr.Linf(0.01), batches=(4, 8), draws=4, attacks=2
    ),
    "LoadedRun": _run,
    "Comparison": _compared,
    "Verdicts": lambda: _compared().verdicts,
    "Numbers": lambda: _run().numbers,
    "SavedResult": lambda: SavedResult("Evaluation", sr.evaluate(_model(), *_images()).table()),
    "TrainingLog": lambda: _run().log,
    "Summary": lambda: sr.evaluate(_model(), *_images()).summary(),
    "Sweep": lambda: sr.sweep(_model(), *_images(), sr.FGSM(sr.Linf(0.01)), [0.01, 0.02]),
    "Trained": _trained,
    "Transfer": lambda: sr.transfer({"one": _model(), EVIL: _model()}, *_images(), sr.FGSM(sr.Linf(0.01))),
    "Usefulness": lambda: sr.usefulness(_model(), *_images(), threat=sr.Linf(0.01)),
}
WORDS = {"Checks", "Numbers"}  # that have no chart


@cache
def _sample(name: str) -> AbstractResult:
    return SAMPLES[name]()


@pytest.fixture(params=_kinds(), ids=lambda kind: kind.__name__)
def result(request):
    name = request.param.__name__
    assert name in SAMPLES, f"{name} is a result without a sample here"
    found = _sample(name)
    assert type(found) is request.param
    return found


def test_it_is_short_in_a_line(result):
    said = repr(result)
    assert said.startswith(f"<{result.kind}: ") and said.endswith(">")
    assert "\n" not in said and "\x1b" not in said and len(said) < 400
    assert "tensor" not in said and "array(" not in said


def test_it_prints_as_a_table(result):
    assert "tensor(" not in str(result) and len(str(result)) < 20_000


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_a_table_breaks_between_columns(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    found = sr.evaluate(_model(), *_images(), sr.FGSM(sr.Linf(0.01)))
    lines = str(found).split("Note:")[0].splitlines()
    assert max(map(len, lines)) <= columns
    shown = [name for name in found.table().columns if name not in ("low", "high")]
    assert all(any(name in line.split() for line in lines) for name in shown)
    assert sum(line.startswith("fgsm") for line in lines) == (2 if columns == 80 else 1)


class _Page(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.open, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_a_notebook_shows_an_accessible_table(result):
    page = _Page()
    page.feed(result._repr_html_())
    tags = [tag for tag, _ in page.tags]
    assert not page.open and tags.count("caption") == 1
    assert not {"script", "style", "link", "img", "iframe"} & set(tags)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    scopes = [attrs.get("scope") for tag, attrs in page.tags if tag == "th"]
    assert scopes.count("row") == min(len(result.table().rows), 40) and set(scopes) <= {"row", "col"}
    assert not any("\x1b" in text for text in page.texts)


def test_a_frame_has_its_rows(result):
    table, frame = result.table(), result.to_frame()
    assert list(frame.columns) == list(table.columns) and len(frame) == len(table.rows)
    assert frame.attrs["result"] == result.kind
    for name, kind in table.columns.items():
        if kind in ("number", "share") and len(frame):
            assert frame[name].dtype == np.float64
            if kind == "share":
                assert frame[name].dropna().between(0, 1).all()


def test_what_is_saved_is_read_again(result, tmp_path):
    path = result.save(tmp_path / "result.json")
    kind, table = read_result(json.loads(path.read_text()))
    assert (kind, table) == (result.kind, result.table())
    assert result.save(path) == path  # in place of its own
    rows = list(csv.reader(result.save(tmp_path / "result.csv").read_text().splitlines()))
    assert rows[0] == list(table.columns)
    result.save(tmp_path / "result.csv")
    assert not any(cell.startswith(("=", "@")) for row in rows for cell in row)


def test_it_draws_itself(result):
    from matplotlib.figure import Figure

    if type(result).__name__ in WORDS:
        with pytest.raises(sr.InputError, match="plot"):
            result.plot()
        return
    figure = result.plot()
    assert isinstance(figure, Figure) and figure.axes
    # Of what was saved the same chart can be drawn.
    assert isinstance(RESULTS[result.kind].drawn(result.table()), Figure)
    picture, size = figure._repr_png_()  # a notebook shows it without pyplot
    assert picture.startswith(b"\x89PNG") and size["width"] > 200


def test_images_and_verdicts_are_short_in_a_line_too():
    data = sr.load_data("digits")
    assert repr(data.test) == "<Images: 500 of 1 x 8 x 8, 10 classes>"
    assert repr(data).startswith("<Splits of digits: train 1,297 of") and len(repr(data)) < 200
    found = sr.evaluate(_model(), *_images(), {"a": sr.FGSM(sr.Linf(0.01))})
    assert re.fullmatch(r"<ByAttack: a \d+ of 24>", repr(found.robust))


def test_its_dataclass_leaves_the_repr_alone():
    for kind in _kinds():
        assert kind.__repr__ is AbstractResult.__repr__, f"{kind.__name__}: repr=False is missing"


def test_a_table_tells_no_number_from_a_number(tmp_path):
    table = Table(
        "", {"x": "number", "s": "text"}, [(math.nan, "nan"), (math.inf, None), (np.float64(2), "b")]
    )
    assert [row[0] for row in table.rows] == [None, math.inf, 2.0]
    assert "–" in table.text() and "inf" in table.text()
    with pytest.raises(RuntimeError):
        Table("", {"x": "number"}, [(1, 2)])


def test_pandas_is_an_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'semirobust[frames]'")):
        _sample("Evaluation").to_frame()


@pytest.mark.parametrize("name", ["x.xlsx", "x", "x.pt"])
def test_another_kind_of_file_is_refused(name, tmp_path):
    with pytest.raises(sr.InputError, match=r"\.json or \.csv"):
        _sample("Evaluation").save(tmp_path / name)


def test_a_file_of_somebody_else_stays(tmp_path):
    for name in ("mine.json", "mine.csv"):
        (tmp_path / name).write_text('{"mine": 1}\n')
        with pytest.raises(sr.InputError, match="not made by semirobust"):
            _sample("Evaluation").save(tmp_path / name)
        assert (tmp_path / name).read_text() == '{"mine": 1}\n'
