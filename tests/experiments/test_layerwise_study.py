"""The comparison of layer-wise methods has a run for each of them, and a page from their records."""

from importlib.util import find_spec
from pathlib import Path

from semirobust.experiments.queue.find import find_study
from semirobust.experiments.queue.runner import reproduce, write_page
from semirobust.measures import MEASURES
from semirobust.methods import METHODS
from semirobust.records.schema import About, Finding, Number, Origin, Quantity, Topic
from semirobust.reports import source_of

FOLDER = Path(__file__).resolve().parents[2] / "papers" / "layerwise"
TINY = {
    "data.source": "digits", "data.train": 80, "data.validation": 20, "data.test": 10,
    "model.name": "resnet8", "model.width": 0.25, "train.epochs": 1, "train.attack": "pgd-1",
    "harden.epochs": 1, "harden.attack": "pgd-1", "evaluate.attacks": ["pgd-20"], "evaluate.examples": 10,
    "train.learning_rate": 0.05, "harden.learning_rate": 0.05,
}  # fmt: skip


def test_each_method_and_criterion_is_a_run():
    units = find_study(FOLDER).study.units("cpu", None, {})
    of_one = {unit.run for unit in units if unit.network == "resnet18-late" and unit.seed == 0}
    others = {"autolora-ours", "twins-ours", "peft"}  # peft has nothing for convolutions
    assert set(METHODS.names()) - others <= of_one
    on_vit = {unit.run for unit in units if unit.network == "vit-late" and unit.seed == 0}
    assert on_vit - of_one == ({"peft"} if find_spec("peft") else set())
    assert {f"by-{name}" for name in MEASURES.names()} - of_one == {
        "by-connectivity",
        "by-readout",
        "by-stability",
    }


def test_a_run_of_a_method_has_its_controls_and_autoattack(tmp_path):
    only = [f"resnet18-early/seed-0/{name}" for name in ("start", "selected", "wise", "costs")]
    reproduce(FOLDER, "cpu", tmp_path, seeds=1, only=only, workers=1, changes=TINY)
    text = write_page(FOLDER, "cpu", tmp_path, tmp_path / "page.md").read_text(encoding="utf-8")
    assert "## ResNet-18, before robust overfitting" in text and "## VGG-19" not in text
    rows = {
        line.split("|")[1].strip(): line.split("|") for line in text.splitlines() if line.startswith("| ")
    }
    # wise goes back by held-out images, and is given some.
    assert {"start", "best", "selected", "selected, random layers", "wise"} <= rows.keys()
    assert all(cell.strip() for cell in rows["selected"][2:14]) and rows["selected"][4].strip() == "1"
    assert rows["selected"][2].strip() == "criticality" and " layer " in rows["selected"][3]
    assert rows["selected, random layers"][2].strip() == "random" and rows["best"][3].strip() == "–"
    # The gradient of the attack passes all layers, that of the weights one of them.
    assert 0.5 < float(rows["selected"][14]) < 1 == float(rows["wise"][14])
    assert not rows["selected, random layers"][14].strip()
    written = write_page(FOLDER, "cpu", tmp_path, tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<th scope="col">AutoAttack, less start</th>' in written and "<td>criticality</td>" in written


def test_the_page_orders_methods_by_gain_and_criteria_by_what_they_foresee():
    at, numbers = Origin(config="c", version="0", device="d", seed="0"), []

    def add(quantity, value, **about):
        about = About(network="vgg19-late", **about)
        numbers.append(Number(quantity=quantity, value=value, about=about, origin=at))

    for seed in (0, 1, 2):
        for arm, gain in (("start", 0.0), ("better", 0.1 + 0.01 * seed), ("worse", -0.1)):
            for attack in ("clean", "pgd-20", "autoattack"):
                value = 0.3 + gain
                add(Quantity.ACCURACY, value, arm=arm, unit=arm, attack=attack, seed=seed)
        for layer in (1, 2, 3, 4):
            add(Quantity.ACCURACY, 0.3 + 0.01 * layer, arm=f"layer {layer}", unit="each", attack="pgd-20",
                tuned_layer=layer, seed=seed)  # fmt: skip
            for measure, score in (("foresees", layer**3), ("misleads", -layer)):
                add(
                    Quantity.MEASURE,
                    float(score),
                    unit=f"by-{measure}",
                    measure=measure,
                    layer=layer,
                    seed=seed,
                )
    about = About(network="vgg19-late", arm="worse", unit="worse", seed=2)
    stopped = Finding(topic=Topic.STOPPED, text="the loss is nan", level="error", about=about, origin=at)
    text = find_study(FOLDER).study.page(source_of([*numbers, stopped]), "cpu")
    first = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert "## VGG-19, after robust overfitting" in text
    assert first.index("start") < first.index("better") < first.index("worse") < first.index("foresees")
    assert first.index("foresees") < first.index("misleads") and "layer 1" not in first
    assert "+1.00 (+1.00, +1.00, +1.00)" in text and "-1.00 (-1.00, -1.00, -1.00)" in text
    assert "+11.0 (" in text and "-10.0 (" in text
    assert "- worse, seed 2: the loss is nan" in text
    seeds = {
        line.split("|")[1].strip(): line.split("|")[4].strip()
        for line in text.splitlines()
        if line.startswith("| ")
    }
    assert seeds["worse"] == "2" and seeds["better"] == "3"
    assert "Of 4 layers, a criterion that knows nothing is between -0.95 and +0.95" in text
