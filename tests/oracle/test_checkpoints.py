"""Checkpoints: every common form loads, nothing wrong does, nothing is run."""

import pickle

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from tests.helpers import SmallResidual


@pytest.fixture
def source():
    torch.manual_seed(5)
    return SmallResidual().eval()


def _same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@pytest.mark.parametrize("form", ["plain", "module", "nested", "compiled", "safetensors", "no counters"])
def test_common_forms(tmp_path, source, form):
    state = source.state_dict()
    path = tmp_path / "weights.pt"
    if form == "safetensors":
        path = tmp_path / "weights.safetensors"
        sr.save_model(source, path)
    else:
        content = {
            "plain": state,
            "module": {f"module.{k}": v for k, v in state.items()},
            "nested": {
                "state_dict": {f"module.{k}": v for k, v in state.items()},
                "epoch": 3,
                "optimizer": {"lr": 0.1},
            },
            "compiled": {"model": {f"_orig_mod.module.{k}": v for k, v in state.items()}},
            "no counters": {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
        }[form]
        torch.save(content, path)
    model = SmallResidual()
    assert sr.load_checkpoint(model, path) is model
    assert not model.training
    assert all(
        torch.equal(v, model.state_dict()[k])
        for k, v in state.items()
        if not k.endswith("num_batches_tracked")
    )


def test_weights_of_the_network_behind_a_normalisation(tmp_path, source):
    torch.save(source.state_dict(), tmp_path / "w.pth")
    model = sr.Normalised(SmallResidual(), [0.5] * 3, [0.2] * 3)
    sr.load_checkpoint(model, tmp_path / "w.pth")
    assert _same(source, model[1])


class _Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_malicious_checkpoint_runs_nothing_and_changes_nothing(tmp_path, capsys, source):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"state_dict": _Evil()}))
    torch.save({"state_dict": _Evil()}, tmp_path / "evil2.pt")
    before = SmallResidual()
    before.load_state_dict(source.state_dict())
    for name in ("evil.pt", "evil2.pt"):
        with pytest.raises(InputError, match="nothing was run"):
            sr.load_checkpoint(source, tmp_path / name)
    assert not capsys.readouterr().out and _same(before, source)


def test_what_does_not_fit_is_one_sentence(tmp_path, source):
    other = SmallResidual(classes=7)
    torch.save(other.state_dict(), tmp_path / "w.pt")
    before = {k: v.clone() for k, v in source.state_dict().items()}
    with pytest.raises(InputError, match=r"linear\.(weight|bias) has shape .* where the model has"):
        sr.load_checkpoint(source, tmp_path / "w.pt")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match="missing .* unknown"):
        sr.load_checkpoint(source, tmp_path / "w.pt")
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(InputError, match="expected a state dict of tensors, got list"):
        sr.load_checkpoint(source, tmp_path / "w.pt")
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in before.items())


def test_damaged_files_are_one_sentence(tmp_path, source):
    with pytest.raises(InputError, match="expected a file at"):
        sr.load_checkpoint(source, tmp_path / "none.pt")
    sr.save_model(source, tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(content[:-7])
    with pytest.raises(InputError, match="complete safetensors"):
        sr.load_checkpoint(source, tmp_path / "w.safetensors")
    torch.save(source.state_dict(), tmp_path / "w.pt")
    content = (tmp_path / "w.pt").read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 3):
        (tmp_path / "w.pt").write_bytes(content[:cut])
        with pytest.raises(InputError):
            sr.load_checkpoint(source, tmp_path / "w.pt")
    (tmp_path / "w.pt").write_text("<html>not found</html>")
    with pytest.raises(InputError):
        sr.load_checkpoint(source, tmp_path / "w.pt")


def test_tied_weights_can_be_saved(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    sr.save_model(model, tmp_path / "t.safetensors")
    assert sr.load_checkpoint(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), tmp_path / "t.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path, source, monkeypatch):
    path = tmp_path / "w.safetensors"
    sr.save_model(source, path)
    before = path.read_bytes()
    monkeypatch.setattr(
        "os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space"):
        sr.save_model(SmallResidual(), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_weights_behind_a_normalisation_go_into_a_network_that_normalises_alike(tmp_path, source):
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    path = tmp_path / "weights.safetensors"
    sr.save_model(sr.Normalised(source, mean, std), path)
    other = SmallResidual()
    loaded = sr.load_checkpoint(sr.as_classifier(other, mean=mean, std=std), path)
    assert _same(source, loaded) and _same(source, other)
    for wrong in (SmallResidual(), sr.as_classifier(SmallResidual(), mean=std, std=std)):
        with pytest.raises(InputError, match="expected weights that fit"):
            sr.load_checkpoint(wrong, path)


def test_the_module_of_checkpoints_is_public(tmp_path, source):
    from semirobust.models import checkpoint

    assert set(checkpoint.__all__) == {"load_checkpoint", "read_metadata", "save_model"}
    checkpoint.save_model(source, tmp_path / "w.safetensors", {"stage": "train"})
    assert checkpoint.read_metadata(tmp_path / "w.safetensors") == {"stage": "train"}
    assert sr.load_checkpoint is checkpoint.load_checkpoint
