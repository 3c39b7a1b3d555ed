"""Damage and change of what is kept to go on from or to report: it is noticed, and it blocks nothing."""

import json
import random
import shutil
import struct
from pathlib import Path

import pytest
import torch

import semirobust as sr
import semirobust.records.origin as origin
from semirobust.core.errors import InputError
from semirobust.core.tensor_files import read_checked, write_tensors
from semirobust.data.base.images import images_from_tensors
from semirobust.experiments.folder import save_run
from semirobust.records.store import read_records, record_line, write_records
from semirobust.reports.page import write_report
from semirobust.training.training import Training
from tests.experiments.test_commands import FAST
from tests.kinds import attempt

_TRAIN = ["train", "--data", "digits", "--attack", "pgd-2", *FAST, "--epochs", "3", "--out", "a"]
_PRUNE = ["prune", "--data", "digits", *FAST, "--levels", "2", "--epochs", "1", "--attacks", "fgsm",
          "--examples", "50", "--out", "p"]  # fmt: skip
_JUDGE = ["evaluate", "a", "--attacks", "fgsm,pgd-5", "--examples", "60", "--set", "evaluate.checks=0"]
_THREAT = sr.Linf(0.1)


def _stop(*_, **__):
    raise KeyboardInterrupt


def _after(calls):
    """A progress callback that interrupts at that call."""
    left = [calls]

    def progress(*_):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    return progress


def _findings(folder):
    return [r.text for r in read_records(Path(folder)) if r.kind == "finding"]


def _images(n=40):
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return images_from_tensors(x, torch.arange(n) % 2)


def _model():
    return sr.build_model("resnet8", num_classes=2, width=0.125, in_channels=1, image_size=8)


def _flipped(content, bit):
    found = bytearray(content)
    found[bit // 8] ^= 1 << bit % 8
    return bytes(found)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small kept file, and what it holds."""
    file = tmp_path_factory.mktemp("kept") / "kept.safetensors"
    tensors = {"a": torch.arange(5.0), "b": torch.tensor([True, False, True]), "c": torch.tensor([3, 4])}
    write_tensors(file, tensors, {"key": "abc", "epoch": 3})
    return file.read_bytes(), read_checked(file)


def _same_content(file, whole):
    metadata, tensors = read_checked(file)
    return metadata == whole[0] and all(
        torch.equal(t, tensors[k]) and t.dtype == tensors[k].dtype for k, t in whole[1].items()
    )


@attempt(
    "a kept file cut short, at each length",
    "damage is noticed: it is never taken for whole",
    promise="damage",
)
def test_a_file_cut_at_any_length_is_noticed(small, tmp_path):
    content, _ = small
    for length in range(len(content)):
        (tmp_path / "k.safetensors").write_bytes(content[:length])
        with pytest.raises(InputError):
            read_checked(tmp_path / "k.safetensors")


@attempt(
    "each single bit of a kept file flipped, in the header too",
    "noticed, unless what the file says stays the same",
    promise="damage",
)
def test_every_single_flipped_bit_is_noticed(small, tmp_path):
    content, whole = small
    for bit in range(8 * len(content)):
        (tmp_path / "k.safetensors").write_bytes(_flipped(content, bit))
        try:
            assert _same_content(tmp_path / "k.safetensors", whole), bit
        except InputError:
            continue


@attempt(
    "a file of zeros, as after a loss of power; an empty one; one whose checksum was taken out; one with other"
    " metadata; one with two tensors exchanged",
    "noticed",
    promise="damage",
)
def test_what_lost_its_content_or_its_checksum_is_noticed(small, tmp_path):
    content, whole = small
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    own = json.loads(header["__metadata__"]["semirobust"])

    def rewritten(change):
        changed, entries = json.loads(json.dumps(header)), dict(own)
        change(changed, entries)
        changed["__metadata__"]["semirobust"] = json.dumps(entries)
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + size :]

    def exchanged(changed, _):
        changed["a"], changed["d"] = dict(changed["a"]), changed.pop("b")

    bad = [
        b"",
        bytes(len(content)),
        content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
        rewritten(lambda changed, entries: entries.pop("sum")),
        rewritten(lambda changed, entries: entries.update(epoch=30)),
        rewritten(lambda changed, entries: entries.update(key="other")),
        rewritten(lambda changed, _: changed["c"].update(shape=[2, 1])),
        rewritten(lambda changed, _: changed["a"].update(dtype="I32")),
        rewritten(exchanged),
    ]
    for number, harmed in enumerate(bad):
        (tmp_path / "k.safetensors").write_bytes(harmed)
        with pytest.raises(InputError):
            read_checked(tmp_path / "k.safetensors")
            pytest.fail(str(number))
    (tmp_path / "k.safetensors").write_bytes(rewritten(lambda *_: None))
    assert _same_content(tmp_path / "k.safetensors", whole)


def _interrupted(run, monkeypatch, command, place):
    """Stop an evaluation after some batches; its state file."""
    from semirobust.attacks.pgd import PGD

    with monkeypatch.context() as patch:
        patch.setattr(PGD, "fool", _stop)
        run(*command, code=130)
    (file,) = Path(place).glob("evaluate-*.safetensors")
    return file


@attempt(
    "the verdicts of an interrupted evaluation overwritten, cut short, emptied or filled with zeros",
    "set aside under another name, found anew, and said: the numbers are those of an undisturbed evaluation",
    promise="damage",
)
@pytest.mark.parametrize("harm", ["overwritten", "cut", "empty", "zeros"])
def test_damaged_verdicts_are_found_anew(run, monkeypatch, harm):
    run(*_TRAIN)
    shutil.copytree("a", "b")
    whole = json.loads(run(*_JUDGE, "--json")[0])
    shutil.rmtree("a")
    shutil.copytree("b", "a")
    file = _interrupted(run, monkeypatch, _JUDGE, "a")
    content = file.read_bytes()
    harmed = {
        "overwritten": content[:-60] + 60 * b"\1",
        "cut": content[:50],
        "empty": b"",
        "zeros": bytes(99),
    }
    file.write_bytes(harmed[harm])
    again = json.loads(run(*_JUDGE, "--json")[0])
    assert again["accuracy"] == whole["accuracy"]
    said = f"{file.name} is damaged; it was set aside as {file.name}.damaged, and its verdicts are found anew"
    assert said in again["notes"] and said in _findings("a")
    assert Path(f"{file}.damaged").read_bytes() == harmed[harm] and not file.exists()


def test_damaged_verdicts_in_python_are_refused_with_what_to_delete(tmp_path):
    x, y = _images().all()
    state = tmp_path / "s.safetensors"
    sr.evaluate(_model().eval(), x, y, sr.PGD(_THREAT, steps=2), state=state)
    state.write_bytes(_flipped(state.read_bytes(), 8 * state.stat().st_size - 5))
    with pytest.raises(InputError, match=f"damaged.*delete {state} to begin again"):
        sr.evaluate(_model().eval(), x, y, sr.PGD(_THREAT, steps=2), state=state)


class Own:
    """An attack of the user's own."""

    name = "own"

    def __init__(self, step=0.05):
        self.step = step

    def __repr__(self):  # says nothing of what it does
        return "Own()"

    def __call__(self, model, x, y):
        return _moved(x, self.step)


def _moved(x, step):
    return (x + step).clamp(0, 1)


def _other_way(x, step):
    return (x - step).clamp(0, 1)


@attempt(
    "an evaluation that goes on after the code of the attack was edited: its method, a function that it calls, a"
    " constant of a lambda, a value that its text hides",
    "refused; the sentence says which file to delete",
    promise="damage",
)
@pytest.mark.parametrize("edit", ["method", "function", "constant", "value"])
def test_verdicts_of_an_attack_that_was_edited_are_not_taken_up(tmp_path, monkeypatch, edit):
    x, y = _images().all()
    state, model = tmp_path / "s.safetensors", _model().eval()

    def attack(step=0.05, shift=None):
        return sr.adapt(shift or Own(step), _THREAT, name="own")

    one, other = (lambda m, x, y: (x + 0.01).clamp(0, 1)), (lambda m, x, y: (x + 0.02).clamp(0, 1))
    before, after = (
        (attack(shift=one), attack(shift=other))
        if edit == "constant"
        else (attack(), attack(0.06 if edit == "value" else 0.05))
    )
    sr.evaluate(model, x, y, before, state=state)
    sr.evaluate(model, x, y, before, state=state)  # the same again is taken up
    if edit == "method":
        monkeypatch.setattr(Own, "__call__", lambda self, model, x, y: x)
    if edit == "function":
        monkeypatch.setitem(globals(), "_moved", _other_way)
    with pytest.raises(InputError, match=r"of another evaluation \(the code .* edited since\); delete it"):
        sr.evaluate(model, x, y, after, state=state)


@attempt(
    "an evaluation begun by another version",
    "refused; the sentence names both versions and which file to delete",
    promise="damage",
)
def test_verdicts_of_another_version_are_not_taken_up(tmp_path, monkeypatch):
    x, y = _images().all()
    state = tmp_path / "s.safetensors"
    monkeypatch.setattr(origin, "code_version", lambda: "7.0")
    sr.evaluate(_model().eval(), x, y, sr.PGD(_THREAT, steps=2), state=state)
    monkeypatch.setattr(origin, "code_version", lambda: "8.0")
    with pytest.raises(InputError, match=r"begun by version 7\.0, and this is 8\.0\); delete it"):
        sr.evaluate(_model().eval(), x, y, sr.PGD(_THREAT, steps=2), state=state)


@attempt(
    "an evaluation that goes on with another number of threads, or on another processor",
    "it goes on, and a note says that the verdicts were found under several conditions",
    promise="damage",
)
@pytest.mark.parametrize("what", ["threads", "processor"])
def test_verdicts_under_other_conditions_are_said(tmp_path, monkeypatch, what):
    x, y = _images().all()
    state, attacks = tmp_path / "s.safetensors", [sr.FGSM(_THREAT), sr.PGD(_THREAT, steps=2)]
    with pytest.raises(KeyboardInterrupt):
        sr.evaluate(_model().eval(), x, y, attacks, batch_size=8, state=state, progress=_after(2))
    if what == "threads":
        now = torch.get_num_threads()
        monkeypatch.setattr(torch, "get_num_threads", lambda: now + 1)
    else:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "ANOTHER")
    found = sr.evaluate(_model().eval(), x, y, attacks, batch_size=8, state=state)
    said = [note for note in found.notes if "the verdicts were computed under several conditions" in note]
    assert len(said) == 1 and (f"{now + 1} threads" if what == "threads" else "ANOTHER") in said[0]
    assert all("several" not in note for note in sr.evaluate(_model().eval(), x, y, attacks).notes)


def _half_trained(run, monkeypatch, epochs=2):
    """A training that was stopped after so many epochs."""
    from semirobust.training import engine

    with monkeypatch.context() as patch:
        whole, left = engine.run_epoch, [epochs]

        def some(*arguments):
            left[0] -= 1
            return whole(*arguments) if left[0] >= 0 else _stop()

        patch.setattr(engine, "run_epoch", some)
        run(*_TRAIN, code=130)


@attempt(
    "a training run begun by one version and ended by another",
    "each epoch's records name the version that computed it; a finding and the terminal say so",
    promise="damage",
)
def test_a_run_of_two_versions_says_so(run, monkeypatch):
    monkeypatch.setattr(origin, "code_version", lambda: "7.0")
    _half_trained(run, monkeypatch)
    monkeypatch.setattr(origin, "code_version", lambda: "8.0")
    out, _ = run(*_TRAIN)
    said = "epochs 1 to 2 by version 7.0, epoch 3 by version 8.0"
    assert said in " ".join(out.split()) and any(said in text for text in _findings("a"))
    by_epoch = {r.about.epoch: r.origin.version for r in read_records(Path("a")) if r.kind == "number"}
    assert by_epoch == {1: "7.0", 2: "7.0", 3: "8.0", None: "8.0"}


@attempt(
    "a training run that goes on with other threads",
    "it goes on, and says which epochs were computed with how many",
    promise="damage",
)
def test_a_run_of_other_threads_says_so(run, monkeypatch):
    _half_trained(run, monkeypatch)
    now = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: now + 1)
    run(*_TRAIN)
    assert any(f"epoch 3 by {now + 1} threads" in text for text in _findings("a"))


def test_a_run_that_goes_on_as_it_began_says_nothing(run, monkeypatch):
    _half_trained(run, monkeypatch)
    run(*_TRAIN)
    assert not any("conditions" in text for text in _findings("a"))


@attempt(
    "a training that goes on with another objective, attack or seed, from Python and without a key",
    "refused: it is a run with other settings",
    promise="damage",
)
@pytest.mark.parametrize("change", [{"objective": sr.TRADES()}, {"learning_rate": 0.2}, {"momentum": 0.5}])
def test_a_state_of_other_settings_is_refused_without_a_key(tmp_path, change):
    options = {
        "objective": sr.Adversarial(),
        "attack": sr.PGD(_THREAT, steps=1),
        "epochs": 1,
        "batch_size": 20,
    }
    state = tmp_path / "s.safetensors"
    Training(**options)(_model(), _images(), seed=1, state_file=state)
    with pytest.raises(InputError, match="other settings"):
        Training(**{**options, **change})(_model(), _images(), seed=1, state_file=state)
    with pytest.raises(InputError, match="other settings"):
        Training(**options)(_model(), _images(), seed=2, state_file=state)
    Training(**options)(_model(), _images(), seed=1, state_file=state)


@attempt(
    "`model.safetensors` of another run, an older one, or with flipped bits, beside `settings.json`",
    "refused; the sentence says how to give it on purpose",
    promise="damage",
)
@pytest.mark.parametrize("harm", ["of another run", "flipped", "zeros"])
def test_weights_that_the_run_did_not_leave_are_refused(run, harm):
    run(*_TRAIN)
    file = Path("a/model.safetensors")
    content = file.read_bytes()
    if harm == "of another run":
        run(*_TRAIN[:-1], "other", "--seed", "1")
        shutil.copy("other/model.safetensors", file)
    else:
        bit = 8 * (len(content) - 1 - random.Random(0).randrange(1000))
        file.write_bytes(_flipped(content, bit) if harm == "flipped" else bytes(len(content)))
    _, errors = run(*_JUDGE, code=2)
    assert "model.safetensors" in errors and "Traceback" not in errors
    if harm == "of another run":
        assert "--checkpoint a/model.safetensors" in errors
        run(*_JUDGE, "--checkpoint", "a/model.safetensors", "--out", "judged")


@attempt(
    "`settings.json` of a run changed by hand",
    "the run is read as it says now, and every report of it says that it was changed",
    promise="damage",
)
def test_settings_that_were_changed_are_said(run):
    run(*_TRAIN)
    assert not any("changed" in note for note in json.loads(run(*_JUDGE, "--json")[0])["notes"])
    file = Path("a/settings.json")
    file.write_text(file.read_text().replace('"learning_rate": 0.1', '"learning_rate": 0.3'))
    notes = json.loads(run(*_JUDGE, "--json", "--seed", "3")[0])["notes"]
    assert "a/settings.json was changed after it was written" in notes


@attempt(
    "a level of pruning with flipped bits, cut short, or exchanged for another level",
    "set aside and trained again: the result is that of an undisturbed run; an exchanged one is refused",
    promise="damage",
)
def test_damaged_levels_are_trained_again(run):
    whole = json.loads(run(*_PRUNE, "--json")[0])
    first, second = (Path(f"p/seed-0/ticket/level-{i}.safetensors") for i in (0, 1))
    content, other = first.read_bytes(), second.read_bytes()
    for harmed in (_flipped(content, 8 * len(content) - 9), b""):
        first.write_bytes(harmed)
        assert json.loads(run(*_PRUNE, "--json")[0])["levels"] == whole["levels"]
        assert first.read_bytes() == content
    assert len(list(first.parent.glob("level-0.safetensors.damaged*"))) == 2
    records = first.with_suffix(".jsonl")
    records.write_bytes(records.read_bytes()[:-40])
    assert json.loads(run(*_PRUNE, "--json")[0])["levels"] == whole["levels"]
    first.write_bytes(other)
    assert "other settings" in run(*_PRUNE, code=2)[1]


@attempt(
    "the weights that later levels of pruning go back to, damaged or lost",
    "the level that gives them is trained again",
    promise="damage",
)
@pytest.mark.parametrize("harm", ["damaged", "lost"])
def test_damaged_weights_to_rewind_to_are_made_again(run, harm):
    late = [*_PRUNE, "--set", "prune.rewind_epoch=1", "--json"]
    whole = json.loads(run(*late)[0])
    file = Path("p/seed-0/ticket/rewind.safetensors")
    content = file.read_bytes()
    Path("p/seed-0/ticket/level-2.safetensors").unlink()
    if harm == "lost":
        file.unlink()
    else:
        file.write_bytes(content[:-3])
    assert json.loads(run(*late)[0])["levels"] == whole["levels"] and file.read_bytes() == content


def test_a_run_that_is_written_again_is_not_taken_for_changed(run, tmp_path):
    from semirobust.experiments.subject import build_subject

    run(*_TRAIN)
    subject = build_subject("a", None, None, None, {})
    save_run(tmp_path / "b", subject.model, subject.spec, subject.recipe, "train")
    assert not build_subject("b", None, None, None, {}).notes


_AT = origin.origin({}, seed=0)


def _some(n=5):
    from semirobust.records.schema import About, Number, Quantity

    return [
        Number(quantity=Quantity.ACCURACY, value=i / 10, n=10, about=About(arm=f"arm {i}"), origin=_AT)
        for i in range(n)
    ]


def _said(file):
    return [r.text for r in read_records(file) if r.kind == "finding"]


@attempt(
    "records edited by hand: a number changed, a line taken out, moved, doubled or added",
    "they are read, and the report says how many were changed after they were written",
    promise="damage",
)
def test_records_that_were_changed_are_said(tmp_path):
    file = tmp_path / "records" / "r.jsonl"
    write_records(file, _some())
    lines = file.read_text().splitlines()
    assert read_records(file) == _some() and _said(file) == []
    edited = [line.replace('"value":0.3', '"value":0.9') for line in lines]
    added = record_line(_some()[0])
    cases = {
        "r.jsonl: 1 record was changed after being written": edited,
        "r.jsonl: 1 record was taken out, moved, or lost with the end of the file": lines[:2] + lines[3:],
        "r.jsonl: 3 records were taken out, moved, or lost with the end of the file": lines[:2],
        "r.jsonl: 5 records were changed after being written": [
            line.replace('"version"', '"version" ').replace('"seed":"0"', '"seed":"1"') for line in lines
        ],
        "r.jsonl: 1 record was added": [*lines[:2], added, *lines[2:]],
    }
    for said, changed in cases.items():
        file.write_text("\n".join(changed) + "\n")
        assert _said(file) == [said]
        write_report([tmp_path], tmp_path / "report.html")
        assert said in (tmp_path / "report.html").read_text()
    for changed in ([lines[1], lines[0], *lines[2:]], [lines[0], *lines]):
        file.write_text("\n".join(changed) + "\n")
        assert "taken out, moved" in _said(file)[0]


def test_records_of_others_and_of_earlier_versions_are_read_without_a_word(tmp_path):
    plain = [record_line(record) for record in _some()]
    (tmp_path / "plain.jsonl").write_text("\n".join(plain) + "\n")
    write_records(tmp_path / "a.jsonl", _some())
    write_records(tmp_path / "packed.jsonl.xz", _some())
    sealed = (tmp_path / "a.jsonl").read_text()
    (tmp_path / "twice.jsonl").write_text(sealed + sealed)  # cat a b > c
    spaced = [json.dumps(dict(reversed(json.loads(line).items()))) for line in sealed.splitlines()]
    (tmp_path / "spaced.jsonl").write_text("\n".join(spaced) + "\n")
    for name in ("plain.jsonl", "a.jsonl", "packed.jsonl.xz", "twice.jsonl", "spaced.jsonl"):
        assert read_records(tmp_path / name) == _some() * (1 + (name == "twice.jsonl")), name


@attempt(
    "a file of records with a flipped bit, anywhere; cut at any length; empty; of zeros",
    "refused in a sentence, or read with a finding that says what is not as it was; never in silence",
    promise="damage",
)
def test_damaged_records_are_never_silent(tmp_path):
    file = tmp_path / "r.jsonl"
    write_records(file, _some(2))
    content = file.read_bytes()
    chance = random.Random(0)
    harmed = [_flipped(content, bit) for bit in chance.sample(range(8 * len(content)), 500)]
    harmed += [content[:length] for length in chance.sample(range(len(content)), 60)]
    harmed += [b"", bytes(len(content)), content[: content.index(b"\n") + 1]]
    for each in harmed:
        file.write_bytes(each)
        try:
            read = read_records(file)
        except InputError:
            continue
        assert read == _some(2) or any(r.kind == "finding" for r in read), each


@attempt(
    "the records of an earlier evaluation cut short, when the next one ends",
    "they are kept in `superseded`, the new numbers are written and say so",
    promise="lost",
)
def test_damaged_records_do_not_cost_the_next_ones(run):
    run(*_TRAIN)
    run(*_JUDGE)
    file = Path("a/records/3-evaluate.jsonl")
    content = file.read_bytes()
    file.write_bytes(content[:-30])
    run(*_JUDGE)
    assert Path("a/superseded/3-evaluate.damaged-1.jsonl").read_bytes() == content[:-30]
    assert any("3-evaluate.jsonl was damaged and is kept in superseded" in text for text in _findings("a"))
    assert [r for r in read_records(file) if r.kind == "number"]


@attempt(
    "what an interrupted profile keeps is damaged, exchanged for that of another measure, or of other conditions",
    "measured anew, and said where it was damaged",
    promise="damage",
)
def test_a_damaged_profile_is_measured_anew(tmp_path):
    from semirobust.measures.base.profile_cache import ProfileCache

    kept = ProfileCache(tmp_path / "profile", "key")
    image = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    kept.images(lambda: image)
    file = tmp_path / "profile.images.safetensors"
    file.write_bytes(_flipped(file.read_bytes(), 8 * file.stat().st_size - 3))
    assert torch.equal(kept.images(lambda: image), image)
    assert kept.damaged == ["profile.images.safetensors is damaged; what it held was measured anew"]
    kept.scores("a", list)
    shutil.copy(tmp_path / "profile.a.safetensors", tmp_path / "profile.b.safetensors")
    asked = []
    assert kept.scores("b", lambda: asked.append("b") or []) == [] and asked == ["b"]
    assert ProfileCache(tmp_path / "profile", "other").scores("a", lambda: asked.append("a") or []) == []
    assert asked == ["b", "a"] and len(kept.damaged) == 1


@attempt(
    "the states of two arms, or of two trials, of one run exchanged",
    "refused: each is of other settings",
    promise="damage",
)
def test_states_of_two_arms_are_not_taken_for_each_other(tmp_path):
    options = {"attack": sr.PGD(_THREAT, steps=1), "epochs": 1, "batch_size": 20}
    one, two = (Training(objective=o, **options) for o in (sr.Adversarial(), sr.TRADES()))
    for name, training, seed in (("one", one, 0), ("two", two, 0), ("three", one, 1)):
        training(_model(), _images(), seed=seed, state_file=tmp_path / f"{name}.safetensors", key="run")
    for other in ("two", "three"):
        shutil.copy(tmp_path / f"{other}.safetensors", tmp_path / "one.safetensors")
        with pytest.raises(InputError, match="other settings"):
            one(_model(), _images(), seed=0, state_file=tmp_path / "one.safetensors", key="run")


@attempt(
    "an older copy of a training state put back",
    "the run goes on from there and ends as it would have",
    promise="lost",
)
def test_an_older_state_ends_the_same(tmp_path):
    training = Training(attack=sr.PGD(_THREAT, steps=1), epochs=3, batch_size=20)
    state, copies = tmp_path / "s.safetensors", []
    whole = training(_model(), _images(), state_file=state)
    state.unlink()

    def copy(log, _):
        if state.is_file():
            copies.append(state.read_bytes())

    training(_model(), _images(), state_file=state, on_epoch=copy)
    state.write_bytes(copies[0])
    again = training(_model(), _images(), state_file=state)
    assert all(torch.equal(t, again.best[name]) for name, t in whole.best.items())
