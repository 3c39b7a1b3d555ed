"""What people keep in checkpoints beside and in place of plain weights; the truth is what the network that was
saved computes."""

import argparse
import collections
import io
import json
import pathlib
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_bytes
from safetensors.torch import save_model as save_by_safetensors
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.tensor_files import read_tensors
from semirobust.models.checkpoint import read_metadata
from tests.kinds import attempt, kind


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.stem(x))).amax((2, 3)))


def _network(seed):
    torch.manual_seed(seed)
    network = Small()
    network(torch.rand(8, 3, 7, 7))  # statistics that are not those of a new network
    return network.eval()


@pytest.fixture(scope="module")
def source():
    return _network(0)


@pytest.fixture(scope="module")
def other():
    return _network(1)


_X = torch.linspace(0, 1, 2 * 3 * 7 * 7).view(2, 3, 7, 7)


def _load(content, tmp_path, *, model=None, key=None, name="weights.pt"):
    """The network with the weights, and what was said."""
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        torch.save(content, tmp_path / name)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = sr.load_checkpoint(model or Small(), tmp_path / name, key=key)
    return model, " | ".join(str(warning.message) for warning in said)


def _refusal(content, tmp_path, **options):
    model = options.pop("model", None) or Small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InputError) as refused:
        _load(content, tmp_path, model=model, **options)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert "\n" not in str(refused.value) and "Traceback" not in str(refused.value)
    return str(refused.value)


def _same(model, source, atol=0.0):
    with torch.no_grad():
        return torch.allclose(model.eval()(_X), source(_X), atol=atol, rtol=0)


def _under(prefix, network):
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}


@kind("a checkpoint with the weights under any usual or unusual key", "they are found", about="checkpoints")
@pytest.mark.parametrize(
    "key",
    [
        "state_dict",
        "model_state",
        "net",
        "params",
        "student",
        "module",
        "generator",
        "model.state_dict",
        "0.1",
    ],
)
def test_weights_under_any_key(key, tmp_path, source):
    content = source.state_dict()
    for part in reversed(key.split(".")):
        content = {part: content, "epoch": 3}
    model, said = _load(content, tmp_path)
    assert _same(model, source) and not said


@kind("a checkpoint that holds averaged weights alone (EMA, SWA)", "read, and said", about="checkpoints")
@pytest.mark.parametrize(
    "key", ["ema", "model_ema", "state_dict_ema", "params_ema", "ema_state_dict", "swa_model"]
)
def test_averages_alone(key, tmp_path, source):
    model, said = _load({key: source.state_dict(), "optimizer": {"lr": 0.1}}, tmp_path)
    assert _same(model, source) and f"'{key}' are averages" in said


@kind(
    "the state dict of `AveragedModel`, with `n_averaged` and `module.`",
    "read as the average that it is, and said",
    about="checkpoints",
)
def test_an_averaged_model(tmp_path, source):
    averaged = AveragedModel(source)
    averaged.update_parameters(source)
    for content in (averaged.state_dict(), {"model": averaged.state_dict(), "epoch": 1}):
        model, said = _load(content, tmp_path)
        assert _same(model, source) and "averages" in said and "n_averaged" in said


@kind(
    "raw and averaged weights, or student and teacher, in one file",
    "those trained last are taken, it is said that others differ, and `--checkpoint-key` takes them",
    about="checkpoints",
)
def test_several_that_fit_and_differ(tmp_path, source, other):
    forms = {
        "model_ema": {"model_ema": other.state_dict(), "model": source.state_dict()},
        "ema.shadow": {"ema": {"shadow": other.state_dict(), "decay": 0.9}, "weird": source.state_dict()},
        "state_dict.teacher": {"state_dict": {**_under("teacher.", other), **_under("student.", source)}},
        "teacher": {"state_dict": {**_under("teacher.", other), **_under("student.", source)}},
    }
    for key, content in forms.items():
        model, said = _load(content, tmp_path)
        assert _same(model, source) and "differ" in said and key in said, key
        model, said = _load(content, tmp_path, key=key)
        assert _same(model, other) and "differ" not in said, key
    text = _refusal(forms["model_ema"], tmp_path, key="ema")
    assert "has no 'ema'; expected one of 'model', 'model_ema'" in text
    assert "'odd'" in _refusal({**forms["model_ema"], "odd": {"a": torch.ones(2)}}, tmp_path, key="odd")


@kind("the same weights twice in one file", "read without a word", about="checkpoints")
def test_copies_are_no_choice(tmp_path, source):
    content = {
        "model": source.state_dict(),
        "model_ema": {k: v.clone() for k, v in source.state_dict().items()},
    }
    assert _load(content, tmp_path)[1] == ""


@kind(
    "a Lightning checkpoint, the network under an attribute beside losses and metrics",
    "read into the bare network; what was left out is said",
    about="checkpoints",
)
def test_a_network_inside_another(tmp_path, source):
    state = {
        **_under("backbone.", source),
        "criterion.weight": torch.ones(5),
        "metric.total": torch.tensor(3),
    }
    model, said = _load({"state_dict": state, "hyper_parameters": {"lr": 0.1}, "callbacks": {}}, tmp_path)
    assert _same(model, source) and "criterion.weight, metric.total" in said
    wrapped = {"epoch": 2, "state_dict": _under("model._orig_mod.module.", source)}
    assert _same(_load(wrapped, tmp_path)[0], source)


@kind(
    "names of wrappers in the middle (`stem._orig_mod.weight`)",
    "left away where that fits",
    about="checkpoints",
)
@pytest.mark.parametrize("wrapper", ["_orig_mod", "module", "_fsdp_wrapped_module"])
def test_wrappers_inside_names(wrapper, tmp_path, source):
    state = {k.replace("stem.", f"stem.{wrapper}."): v for k, v in source.state_dict().items()}
    assert _same(_load(state, tmp_path)[0], source)


_PIXELS = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.25]).view(3, 1, 1)


@kind(
    "the network stored twice, in an attacker and beside it, with its normaliser",
    "read once; the normalisation is compared with the model's, refused where it is another, else said",
    about="checkpoints",
)
def test_attacker_and_normaliser(tmp_path, source):
    state = {**_under("module.model.", source), **_under("module.attacker.model.", source)}
    for place in ("module.normalizer.", "module.attacker.normalizer."):
        state |= {f"{place}new_mean": _PIXELS[0], f"{place}new_std": _PIXELS[1]}
    model, said = _load({"model": state, "epoch": 9}, tmp_path)
    assert _same(model, source) and "mean [0.4, 0.5, 0.6] and std [0.2, 0.3, 0.25]" in said
    mean, std = (values.flatten().tolist() for values in _PIXELS)
    for alike in (sr.as_classifier(Small(), mean=mean, std=std), sr.Normalised(Small(), mean, std)):
        assert _load({"model": state}, tmp_path, model=alike)[1] == ""
    wrong = sr.as_classifier(Small(), mean=std, std=mean)
    assert "normalisation by mean [0.4, 0.5, 0.6]" in _refusal({"model": state}, tmp_path, model=wrong)


@kind(
    "`mu` and `sigma`, mean and std, beside the weights", "read, and the values are said", about="checkpoints"
)
def test_mu_and_sigma(tmp_path, source):
    model, said = _load({**source.state_dict(), "mu": _PIXELS[0][None], "sigma": _PIXELS[1][None]}, tmp_path)
    assert _same(model, source) and "[0.4, 0.5, 0.6]" in said and "model.mean" in said
    model = _load({**source.state_dict(), "mu": _PIXELS[0] * 255, "sigma": _PIXELS[1] * 255}, tmp_path)[0]
    assert _same(model, source)


@kind("`total_ops` and `total_params`, which counting left behind", "left out, and said", about="checkpoints")
def test_counts_of_operations(tmp_path, source):
    counts = {f"{m}total_ops": torch.zeros(1, dtype=torch.float64) for m in ("", "stem.", "head.")}
    model, said = _load({**source.state_dict(), **counts, "stem.total_params": torch.ones(1)}, tmp_path)
    assert _same(model, source) and "total_ops, total_params" in said
    assert "1 unknown (first: head.scale)" in _refusal(
        {**source.state_dict(), "head.scale": torch.ones(1)}, tmp_path
    )


@kind("a tensor `best_acc` or `epoch` beside the weights", "left out, and said", about="checkpoints")
def test_what_a_trainer_noted(tmp_path, source):
    noted = {"best_acc": torch.tensor(0.9), "epoch": torch.tensor([3]), "val_loss": torch.tensor(1.0)}
    model, said = _load({**source.state_dict(), **noted}, tmp_path)
    assert _same(model, source) and all(name in said for name in noted)
    for name, value in (("logit_scale", torch.tensor(4.6)), ("accuracy", torch.ones(3))):
        assert f"1 unknown (first: {name})" in _refusal({**source.state_dict(), name: value}, tmp_path)


class _Config(dict):
    """A dictionary with a class and a state of its own."""


def _config():
    config = _Config(lr=0.1)
    config.frozen = True
    return config


@kind(
    "a Namespace, a path, NumPy numbers and arrays, or objects of any class beside the weights",
    "the weights are read, and the rest is named and never built",
    about="checkpoints",
)
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (np.float32(0.9), "NumPy number"),
        (np.arange(4), "NumPy array"),
        (argparse.Namespace(lr=[0.1, {"a": 1}]), "argparse.Namespace"),
        (pathlib.PurePosixPath("a/b"), "pathlib"),
        (collections.defaultdict(list, {"loss": [1.0]}), ""),
        (collections.deque([1, 2]), "deque"),
        (_config(), ""),
        ({3, 4}, ""),
        (_Config, "_Config"),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss"),
        ([argparse.Namespace(a=1)], "argparse.Namespace"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_objects_beside_the_weights(extra, named, old, tmp_path, source):
    file = io.BytesIO()
    content = {"net": source.state_dict(), "extra": extra, "accuracy": np.float64(1) if old else 1.0}
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    model, said = _load(file.getvalue(), tmp_path)
    assert _same(model, source) and named in said


@kind(
    "weights of any type, shared, transposed or parts of larger tensors, beside such objects",
    "they are read to the last bit",
    about="checkpoints",
)
@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_tensors_are_read_to_the_bit(form, tmp_path):
    base = torch.arange(24, dtype=torch.float32)
    kinds = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool)
    tensors = {
        "whole": base.view(4, 6),
        "transposed": base.view(4, 6).t(),
        "part": base[3:9:2],
        "expanded": base[:3].expand(2, 3),
        "number": torch.tensor(3.5),
        "empty": torch.empty(0, 3),
        "parameter": nn.Parameter(base.view(2, 12)),
        **{str(dtype): base.to(dtype) for dtype in kinds},
    }
    content = {"state_dict": collections.OrderedDict(tensors), "args": argparse.Namespace(a=1)}
    if form == "pickle":
        (tmp_path / "w.pt").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=form == "zip")
    found = read_tensors(tmp_path / "w.pt")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


class _Calls:
    def __init__(self, function, *arguments):
        self.given = function, arguments

    def __reduce__(self):
        return self.given


@attempt(
    "a checkpoint whose pickle would call something",
    "a class is a name and a call a list of arguments: nothing of it is called",
    promise="executed",
)
@kind("a checkpoint whose pickle would call something", "nothing of it is called", about="checkpoints")
def test_nothing_is_called(tmp_path, source):
    import os

    harm = tmp_path / "harm"
    for function, arguments in ((os.mkdir, (str(harm),)), (eval, (f"open({str(harm)!r}, 'w')",))):
        text = _refusal({"net": source.state_dict(), "x": _Calls(function, *arguments)}, tmp_path)
        assert "nothing was run" in text and function.__name__ in text
    for call in (
        _Calls(pathlib.Path.touch, harm),
        _Calls(print, "this must never run"),
        _Calls(np.save, harm, 1),
    ):
        assert _same(_load({"net": source.state_dict(), "x": call}, tmp_path)[0], source)
    assert not harm.exists() and not harm.with_suffix(".npy").exists()


@kind(
    "a whole pickled model in place of a state dict",
    "refused with the two lines of Python that make one",
    about="checkpoints",
)
def test_a_whole_model(tmp_path, source):
    for content, path in ((source, ""), ({"model": source, "epoch": 1}, "['model']")):
        text = _refusal(content, tmp_path)
        assert f"model = torch.load('weights.pt', weights_only=False){path} and torch.save(" in text
        assert "Small" in text


@kind(
    "the state dict of a network pruned by `torch.nn.utils.prune`",
    "read with its zeros, and said",
    about="checkpoints",
)
def test_pruned(tmp_path, source):
    pruned = Small()
    pruned.load_state_dict(source.state_dict())
    prune.l1_unstructured(pruned.stem, "weight", 0.5)
    prune.random_unstructured(pruned.head, "bias", 2)
    model, said = _load(_under("module.", pruned), tmp_path)
    assert _same(model, pruned.eval()) and "masks (2)" in said
    assert (model.stem.weight == 0).sum() == 81 and not _same(model, source)
    again = Small()
    prune.identity(again.stem, "weight")
    prune.identity(again.head, "bias")
    assert _load(pruned.state_dict(), tmp_path, model=again)[1] == "" and _same(again, pruned)


@kind(
    "masks beside weights that are already pruned", "they change nothing, and it is said", about="checkpoints"
)
def test_masks_beside_pruned_weights(tmp_path, source):
    state = source.state_dict()
    state["head.weight"] = state["head.weight"] * (mask := (state["head.weight"] > 0).float())
    model, said = _load({**state, "head.weight_mask": mask}, tmp_path)
    assert torch.equal(model.head.weight, state["head.weight"]) and "changed nothing" in said
    assert "head.weight_mask" in _refusal({**source.state_dict(), "head.weight_mask": mask}, tmp_path)


@kind(
    "weights under weight norm or spectral norm, of both makes",
    "put together as in eval mode, never taken for pruned; other parametrisations are refused with the remedy",
    about="checkpoints",
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "norm",
    [
        nn.utils.weight_norm,
        lambda module: nn.utils.weight_norm(module, dim=None),
        lambda module: nn.utils.weight_norm(module, dim=1),
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
    ],
)
def test_weights_in_parts(norm, tmp_path, source):
    network = Small()
    network.load_state_dict(source.state_dict())
    network.stem.weight.data *= 3
    norm(network.stem)
    norm(network.head)
    network(_X)  # spectral norm measures in train mode
    model, said = _load({"state_dict": network.eval().state_dict()}, tmp_path)
    assert _same(model, network, atol=1e-6) and "(2)" in said and "masks" not in said
    parametrizations.orthogonal(other := nn.Linear(4, 4))
    text = _refusal(other.state_dict(), tmp_path, model=nn.Linear(4, 4))
    assert "remove_parametrizations" in text


def test_names_that_transformers_changes_as_it_reads_have_a_remedy(tmp_path, monkeypatch):
    class ViTForImageClassification(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("q_proj", "o_proj")})

    monkeypatch.setattr(ViTForImageClassification, "__module__", "transformers.models.vit")
    stored = {f"{name}.weight": torch.rand(4, 4) for name in ("encoder.query", "encoder.output.dense")}
    text = _refusal(stored, tmp_path, model=ViTForImageClassification())
    assert "ViTForImageClassification.from_pretrained(FOLDER), or name the network hf:FOLDER" in text


@pytest.mark.filterwarnings("ignore")
def test_spectral_norm_of_transposed_convolutions(tmp_path):
    torch.manual_seed(2)
    network = nn.Sequential(nn.utils.spectral_norm(nn.ConvTranspose2d(3, 3, 1)), nn.Flatten())
    network(_X)
    plain = nn.Sequential(nn.ConvTranspose2d(3, 3, 1), nn.Flatten())
    assert _same(_load(network.eval().state_dict(), tmp_path, model=plain)[0], network, atol=1e-5)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x.mean((2, 3))))


@kind("safetensors of tied weights, one of two names missing", "the other name is found", about="checkpoints")
def test_tied_weights(tmp_path):
    torch.manual_seed(3)
    source, loose = Tied().eval(), Tied()
    save_by_safetensors(source, str(tmp_path / "t.safetensors"))
    content = (tmp_path / "t.safetensors").read_bytes()
    model, said = _load(content, tmp_path, model=Tied(), name="t.safetensors")
    assert _same(model, source) and model.first.weight is model.second.weight
    loose.second.weight = nn.Parameter(torch.zeros(3, 3))  # no longer tied; the file knows the twin
    assert _same(_load(content, tmp_path, model=loose, name="t.safetensors")[0], source)
    bare = {k: v.clone() for k, v in source.state_dict().items() if k != "first.weight"}
    model, said = _load(bare, tmp_path, model=Tied())
    assert _same(model, source) and "first.weight" in said


@kind("two different tensors for weights that are one in the network", "refused by name", about="checkpoints")
def test_tied_weights_that_differ(tmp_path):
    state = Tied().state_dict()
    text = _refusal({**state, "second.weight": state["second.weight"] + 1}, tmp_path, model=Tied())
    assert "second.weight differs from first.weight" in text


class _Versioned(nn.Module):
    """Halved since its second version, as torchvision's MNASNet changed with its own."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        if metadata.get("version") is None:
            raise RuntimeError("no version")
        if metadata["version"] < 2:
            state[f"{prefix}scale"] = state[f"{prefix}scale"] / 2
        super()._load_from_state_dict(state, prefix, metadata, *rest)

    def forward(self, x):
        return x.mean((2, 3)) * self.scale


@kind(
    "modules that read the version of their state",
    "the version of the file is kept by `save_model` and given to them; where it says none, their own",
    about="checkpoints",
)
def test_versions_of_modules(tmp_path, monkeypatch):
    network = nn.Sequential(_Versioned())
    plain = {k: v.clone() for k, v in network.state_dict().items()}
    assert _load(plain, tmp_path, model=nn.Sequential(_Versioned()))[0][0].scale[0] == 1
    sr.save_model(network, tmp_path / "new.safetensors", {"stage": "train"})
    assert sr.load_checkpoint(nn.Sequential(_Versioned()), tmp_path / "new.safetensors")[0].scale[0] == 1
    assert read_metadata(tmp_path / "new.safetensors") == {"stage": "train"}
    old = network.state_dict()
    old._metadata["0"]["version"] = 1
    for content in (old, {"state_dict": old, "args": argparse.Namespace()}):
        assert _load(content, tmp_path, model=nn.Sequential(_Versioned()))[0][0].scale[0] == 0.5
    prefixed = collections.OrderedDict((f"net.{k}", v) for k, v in old.items())
    prefixed._metadata = collections.OrderedDict({"net.0": {"version": 1}})
    assert _load(prefixed, tmp_path, model=nn.Sequential(_Versioned()))[0][0].scale[0] == 0.5
    monkeypatch.setattr(_Versioned, "_version", 3)
    sr.save_model(network, tmp_path / "w.safetensors")
    monkeypatch.setattr(_Versioned, "_version", 2)
    assert sr.load_checkpoint(nn.Sequential(_Versioned()), tmp_path / "w.safetensors")[0].scale[0] == 1


@kind(
    "weights of half or double precision", "brought to the type of the model, and said", about="checkpoints"
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype, tmp_path, source):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in source.state_dict().items()}
    model, said = _load(state, tmp_path)
    assert model.stem.weight.dtype == torch.float32 and str(dtype).removeprefix("torch.") in said
    assert torch.equal(model.stem.weight, state["stem.weight"].float())


@kind("weights that hold NaN", "read, and the first is named", about="checkpoints")
def test_weights_that_are_not_finite(tmp_path, source):
    said = _load({**source.state_dict(), "head.bias": torch.full((5,), torch.nan)}, tmp_path)[1]
    assert "NaN" in said and "head.bias" in said
    for name, value in (("running_var", torch.nan), ("running_mean", torch.inf)):
        entry = next(n for n in source.state_dict() if n.endswith(name))
        said = _load({**source.state_dict(), entry: source.state_dict()[entry] * value}, tmp_path)[1]
        assert "NaN or infinity" in said and entry in said
    too_large = source.state_dict()["head.weight"].double() * 1e300
    assert "NaN or infinity" in _load({**source.state_dict(), "head.weight": too_large}, tmp_path)[1]
    entry = next(n for n in source.state_dict() if n.endswith("running_var"))
    said = _load({**source.state_dict(), entry: -source.state_dict()[entry]}, tmp_path)[1]
    assert "negative" in said and entry in said


@kind(
    "averaged weights in the same dictionary as those trained last",
    "those trained last; the averages are named, and `key` takes them",
    about="checkpoints",
)
@pytest.mark.parametrize("prefix", ["ema.", "swa_model.module."])
def test_averages_among_the_weights(prefix, tmp_path, source, other):
    both = {**source.state_dict(), **{f"{prefix}{k}": v for k, v in other.state_dict().items()}}
    for content, key in ((both, None), ({"state_dict": both}, None), ({"state_dict": both}, "state_dict")):
        model, said = _load(content, tmp_path, key=key)
        assert torch.equal(model(_X), source(_X)) and "fit too and differ" in said
    assert torch.equal(_load(both, tmp_path, key=prefix.rstrip("."))[0](_X), other(_X))


def test_a_network_built_in_inference_mode_is_left_as_it_was(tmp_path, source):
    with torch.inference_mode():
        model = _network(1)
    before = model.head.weight.clone()
    with pytest.raises(InputError, match="built outside of torch.inference_mode"):
        _load(source.state_dict(), tmp_path, model=model)
    assert torch.equal(model.head.weight, before)


def test_weights_in_eight_bits(tmp_path, source):
    weight = source.state_dict()["head.weight"].to(torch.float8_e4m3fn)
    model, said = _load({**source.state_dict(), "head.weight": weight}, tmp_path)
    assert torch.equal(model.head.weight, weight.float()) and "float8" in said


@kind(
    "complex, whole-number, sparse, quantised, nested and empty (meta) tensors, and NumPy arrays as weights",
    "refused by the name of the entry and what it is",
    about="checkpoints",
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("beside", [{}, {"args": argparse.Namespace()}], ids=["alone", "beside a Namespace"])
def test_odd_tensors(beside, tmp_path, source):
    good = source.state_dict()["head.weight"]
    odd = {
        "complex": good + 1j,
        "int8": (good * 9).to(torch.int8),
        "sparse": good.to_sparse(),
        "quantised": torch.quantize_per_tensor(good, 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]),
        "without values": good.to("meta"),
        "NumPy array": good.numpy(),
    }
    for what, tensor in odd.items():
        text = _refusal({"net": {**source.state_dict(), "head.weight": tensor}, **beside}, tmp_path)
        assert what in text and "head.weight" in text, (what, text)
    loop = {}
    loop["state_dict"] = loop
    assert "expected a state dict" in _refusal(loop, tmp_path)
    assert "from_numpy" in _refusal({k: v.numpy() for k, v in source.state_dict().items()}, tmp_path)


@kind(
    "weights that do not fit",
    "the entries that really do not are named, shapes or the nearest names beside them",
    about="checkpoints",
)
def test_what_does_not_fit_is_named(tmp_path, source):
    state = source.state_dict()
    renamed = {k.replace("stem", "steam"): v for k, v in state.items() if "tracked" not in k}
    text = _refusal({"net": _under("module.", source) | {"module.head.bias": torch.ones(9)}}, tmp_path)
    assert "head.bias has shape (9,) where the model has (5,)" in text and "missing" not in text
    text = _refusal(renamed, tmp_path)
    assert "2 missing (first: stem.bias, nearest steam.bias, stem.weight, nearest steam.weight)" in text
    assert "num_batches_tracked" not in text
    text = _refusal({k.replace("stem", "conv1"): v for k, v in state.items()}, tmp_path)
    assert "stem.bias, nearest conv1.bias, stem.weight, nearest conv1.weight" in text
    assert "1 unknown (first: extra.weight)" in _refusal(
        {**state, "extra.weight": torch.ones(2, 2)}, tmp_path
    )


def _archive(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return file.getvalue()


@kind(
    "a file of Keras, TensorFlow, JAX, ONNX or NumPy, a pointer of Git LFS, a web page, a packed, cut or empty file",
    "one sentence says what it is and what to do",
    about="checkpoints",
)
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        ("w.pth", b"\n<!DOCTYPE html>\n<html>404</html>", "web page"),
        ("w.pt", b"", "empty file"),
        ("w.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "Keras"),
        ("w.keras", _archive("config.json", "model.weights.h5"), "Keras"),
        ("w.onnx", b"\x08\x07\x12\x07pytorch\x1a\x052.0", "ONNX"),
        ("w.msgpack", b"\x81\xa6params\x81\xa5Dense", "JAX"),
        ("w.ckpt.data-00000-of-00001", bytes(99), "TensorFlow"),
        ("w.npz", _archive("a.npy", "b.npy"), "NumPy"),
        ("w.pt.gz", b"\x1f\x8b\x08\x00" + bytes(20), "gzip"),
        ("w.zip", _archive("weights/model.pt"), "weights/model.pt"),
        ("w.pt", b"{'a': 1}\n", "text file"),
        ("w.pt", b"\x89PNG\r\n\x1a\n", "picture"),
        ("w.pt", _archive("w/data.pkl", "w/constants.pkl"), "torch.jit.load"),
    ],
)
def test_files_of_others(name, content, said, tmp_path):
    text = _refusal(content, tmp_path, name=name)
    assert said in text and len(text) < 300


@kind("a folder in place of a file", "the files of weights in it are named", about="checkpoints")
def test_a_folder(tmp_path, source):
    (tmp_path / "config.json").write_text("{}")
    sr.save_model(source, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"found a folder; it holds model\.safetensors"):
        sr.load_checkpoint(Small(), tmp_path)


@kind(
    "a checkpoint in several files with an index, as transformers writes",
    "its index is read; of a part alone it is said that it is one",
    about="checkpoints",
)
def test_several_files(tmp_path, source):
    names, state = sorted(source.state_dict()), source.state_dict()
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for i, file in enumerate(files):
        (tmp_path / file).write_bytes(safetensors_bytes({name: state[name] for name in names[i::2]}))
    index = {"weight_map": {name: files[i % 2] for i, name in enumerate(names)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    model = sr.load_checkpoint(Small(), tmp_path / "model.safetensors.index.json")
    assert _same(model, source)
    with pytest.raises(InputError, match="one part of several"):
        sr.load_checkpoint(Small(), tmp_path / files[0])
    for wrong in ({"weight_map": {"a": "../w.safetensors"}}, {"weight_map": 3}, []):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match="expected an index"):
            sr.load_checkpoint(Small(), tmp_path / "model.safetensors.index.json")


@kind("a download that ended early", "the message says so", about="checkpoints")
def test_cut_files(tmp_path, source):
    file = io.BytesIO()
    torch.save({"net": source.state_dict(), "args": argparse.Namespace()}, file)
    assert "ends early" in _refusal(file.getvalue()[:-50], tmp_path)
    assert "incomplete" in _refusal(safetensors_bytes(source.state_dict())[:-9], tmp_path)


@kind("safetensors called `.pt`, or the other way about", "read by what is in it", about="checkpoints")
def test_suffixes_that_say_otherwise(tmp_path, source):
    assert _same(_load(safetensors_bytes(source.state_dict()), tmp_path)[0], source)
    assert _same(_load({"net": source.state_dict()}, tmp_path, name="w.safetensors")[0], source)


@kind(
    "parts of a weight that claim to be larger than the file",
    "they are not put together, so that no memory is claimed",
    about="checkpoints",
)
def test_parts_larger_than_the_file(tmp_path, source):
    huge = torch.ones(1).expand(1 << 40)
    state = {**source.state_dict(), "x.weight_g": torch.tensor(1.0), "x.weight_v": huge}
    assert "unknown (first: x.weight_g, x.weight_v)" in _refusal(state, tmp_path)


@kind("a file of a few kilobytes whose pickle unpacks to gigabytes", "refused at once", about="checkpoints")
def test_a_pickle_that_unpacks_to_much(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\x80\x02(" + b"N" * (64 << 20) + b"l.")
    assert "was not read" in _refusal(file.getvalue(), tmp_path)


@kind(
    "a network on the device meta, or a lazy one that never ran",
    "refused, since loading into it would do nothing",
    about="checkpoints",
)
def test_networks_that_hold_no_weights(tmp_path, source):
    with torch.device("meta"):
        empty = Small()
    torch.save(source.state_dict(), tmp_path / "w.pt")
    for model in (empty, nn.Sequential(nn.LazyConv2d(6, 3), nn.BatchNorm2d(6))):
        with pytest.raises(InputError, match="has none"):
            sr.load_checkpoint(model, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module, got"):
        sr.load_checkpoint(tmp_path / "w.pt", source)
    with pytest.raises(InputError, match="fetch it first"):
        sr.load_checkpoint(source, "https://example.org/w.pt")
