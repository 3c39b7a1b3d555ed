"""Data as users have them in Python: arrays, data sets, loaders, folders of torchvision; taken, or refused with how."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import semirobust as sr

X = np.random.default_rng(0).random((12, 1, 4, 4))
Y = np.arange(12) % 3


def _model(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype).eval()


class ImageFolder(Dataset):
    """As torchvision's: PIL images or what a transform makes of them, and the names of the folders."""

    classes = ["cat", "dog", "fox", "owl"]

    def __init__(self, transform=None):
        self.transform = transform

    def __len__(self):
        return 12

    def __getitem__(self, index):
        if index >= 12:
            raise IndexError
        picture = Image.fromarray((255 * X[index, 0]).astype(np.uint8))
        return (picture if self.transform is None else self.transform(picture)), int(Y[index])


class HuggingFace:
    """Rows by index as dictionaries, and features that name the classes."""

    features = {"image": None, "label": type("ClassLabel", (), {"names": ["a", "b", "c"]})()}

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return {"image": Image.fromarray((255 * X[index, 0]).astype(np.uint8)), "label": int(Y[index])}


TENSORS = TensorDataset(torch.tensor(X).float(), torch.tensor(Y))
TAKEN = {
    "arrays": (X, Y),
    "tensors": (torch.tensor(X).float(), torch.tensor(Y)),
    "a list of labels": (X.astype(np.float32), Y.tolist()),
    "channels last": (X.transpose(0, 2, 3, 1), Y),
    "dataset": TENSORS,
    "loader": DataLoader(TENSORS, batch_size=4, shuffle=True),
    "folder": ImageFolder(),
    "subset": Subset(ImageFolder(), range(12)),
    "hugging face": HuggingFace(),
    "images": sr.images_from_tensors(X, Y),
}


@pytest.mark.parametrize("name", TAKEN)
def test_training_takes_what_a_user_has(name):
    model = _model()
    trained = sr.harden(model, TAKEN[name], "adversarial", threat=sr.Linf(0.05), epochs=1)
    assert len(trained.logs) == 1
    training = sr.Training(attack=sr.FGSM(sr.Linf(0.05)), epochs=1)
    assert len(training(model, TAKEN[name]).logs) == 1
    assert sr.audit(model, TAKEN[name], sr.Linf(0.05), minutes=0.001).plan.examples <= 12


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (ImageFolder(), "cat dog fox owl"),
        (Subset(ImageFolder(), [0, 1]), "cat dog fox owl"),
        (HuggingFace(), "a b c"),
    ],
)
def test_the_names_of_classes_are_kept(data, names):
    assert sr.images_from_dataset(data).classes == tuple(names.split())
    assert sr.images_from_dataset(DataLoader(data)).classes == tuple(names.split())
    assert sr.images_from_dataset(data, ["x", "y", "z"]).classes == ("x", "y", "z")


def test_names_that_are_fewer_than_the_labels_are_not_taken():
    class Few(ImageFolder):
        classes = ["cat"]

    assert sr.images_from_dataset(Few()).classes == ("0", "1", "2")


class Stream(IterableDataset):
    def __iter__(self):
        return iter(TENSORS)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (sr.load_data("digits"), r"give data\.train"),
        (X, r"images and their labels.*give \(x, y\)"),
        (torch.tensor(X), r"give \(x, y\)"),
        ("digits", r"sr\.load_data\('digits'\)\.train"),
        (
            DataLoader(TENSORS, sampler=torch.utils.data.SubsetRandomSampler([1, 2])),
            r"hand over its \.dataset",
        ),
        (DataLoader(Stream()), "DataLoader of a whole data set|map-style"),
        (Stream(), "map-style"),
        ({"train": ImageFolder()}, "hand over one of train"),
        (ImageFolder(lambda picture: torch.zeros(1, 4, 4) - 1), "pixels in .0, 1."),
        (3, "map-style Dataset, got int"),
        (None, "map-style"),
    ],
    ids=[
        "both splits",
        "an array without labels",
        "a tensor without labels",
        "a name",
        "a loader of a part",
        "a loader of a stream",
        "a stream",
        "a mapping of splits",
        "pixels below 0",
        "a number",
        "nothing",
    ],
)
def test_what_is_not_taken_is_refused_with_how(data, said):
    with pytest.raises(sr.InputError, match=said):
        sr.harden(_model(), data, "adversarial", threat=sr.Linf(0.05), epochs=1)


ATTACK = sr.PGD(sr.Linf(0.05), steps=2)
CALLS = {
    "evaluate": lambda model, x, y: sr.evaluate(model, x, y, ATTACK).robust["pgd"].tolist(),
    "criticality": lambda model, x, y: sr.criticality(model, x, y, threat=sr.Linf(0.05)).values.tolist(),
    "sweep": lambda model, x, y: sr.sweep(model, x, y, ATTACK, [0.05]).correct.tolist(),
    "transfer": lambda model, x, y: sr.transfer({"a": model}, x, y, ATTACK).correct["a", "a"].tolist(),
    "attack": lambda model, x, y: ATTACK(model, x, y).tolist(),
    "sanity_checks": lambda model, x, y: [c.passed for c in sr.sanity_checks(model, x, y, sr.Linf(0.05))],
    "layer_map": lambda model, x, y: len(sr.layer_map(model, x)),
    "usefulness": lambda model, x, y: sr.usefulness(model, x, y).useful.tolist(),
}


@pytest.mark.parametrize("name", CALLS)
def test_arrays_count_as_the_tensors_of_the_same_values(name):
    call, x, y = CALLS[name], torch.tensor(X).float(), torch.tensor(Y)
    assert call(_model(), X, Y) == call(_model(), x, y), "of the double precision that is NumPy's own"
    assert call(_model(), X.astype(np.float32)[::-1][::-1], Y.astype(np.uint8)) == call(_model(), x, y)
    frozen = X.astype(np.float32)
    frozen.flags.writeable = False
    assert call(_model(), frozen, Y) == call(_model(), x, y)


def test_arrays_for_a_network_in_double_precision_stay_so():
    found = ATTACK(_model(torch.float64), X, Y)
    assert found.dtype == torch.float64


@pytest.mark.parametrize(
    "data",
    [
        DataLoader(TENSORS),
        TENSORS,
        ImageFolder(),
        HuggingFace(),
        sr.load_data("digits"),
        sr.images_from_tensors(X, Y),
    ],
    ids=lambda data: type(data).__name__,
)
@pytest.mark.parametrize("call", [sr.evaluate, sr.criticality, sr.connectivity])
def test_a_data_set_in_place_of_a_tensor_is_refused_with_how(call, data):
    for arguments in ((data,), (data, ATTACK)):
        with pytest.raises(
            sr.InputError, match=rf"x, y = .*first\(1000\)\.all\(\).*{call.__name__}\(model, x, y\)"
        ):
            call(_model(), *arguments)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (X.transpose(0, 2, 3, 1).repeat(3, 3), r"x\.transpose\(0, 3, 1, 2\)"),
        (np.array([["a"]]), "array of numbers"),
        ((255 * X).astype(np.uint8), "divide bytes by 255"),
        (255 * X, r"pixels in \[0, 1\]"),
    ],
)
def test_arrays_that_are_no_images_are_refused(x, said):
    with pytest.raises(sr.InputError, match=said):
        sr.evaluate(_model(), x, Y)
