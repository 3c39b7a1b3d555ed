"""Readers of data on files written in each layout, whole and damaged, and on the real ones where they are at
hand.
"""

import dataclasses
import gzip
import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

import semirobust as sr
from semirobust.augment.random_resized_crop import RandomResizedCrop
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.data import folder as folder_module
from semirobust.data.base.catalogue import CATALOGUE
from semirobust.data.base.locate import unpack
from semirobust.data.cifar import read_binary, read_python
from semirobust.data.idx import read_idx
from semirobust.training.training import Training

RNG = np.random.default_rng(0)


def _idx(path, array):
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx(tmp_path, suffix):
    images, labels = RNG.integers(0, 256, (30, 28, 28), np.uint8), np.arange(30, dtype=np.uint8) % 10
    for part in ("train", "t10k"):
        _idx(tmp_path / f"{part}-images-idx3-ubyte{suffix}", images)
        _idx(tmp_path / f"{part}-labels-idx1-ubyte{suffix}", labels)
    splits = sr.load_data("mnist", root=tmp_path)
    x, y = splits.train.all()
    assert x.shape == (30, 1, 28, 28) and x.dtype == torch.float32 and float(x.max()) <= 1
    np.testing.assert_array_equal((x[:, 0] * 255).round().numpy().astype(np.uint8), images)
    np.testing.assert_array_equal(y, labels)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x09\x01\0\0\0\x01a",
        b"\0\0\x08\x01\0\0\0\x05abc",
        b"\0\0\x08\x01\0\0\0\x01abc",
    ],
)
def test_damaged_idx_is_one_sentence(tmp_path, content):
    path = tmp_path / "x-ubyte"
    path.write_bytes(content)
    with pytest.raises(InputError, match="x-ubyte: expected"):
        read_idx(path)
    packed = tmp_path / "y.gz"
    packed.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x05abcde")[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        read_idx(packed)
    huge = tmp_path / "huge"
    huge.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    with pytest.raises(InputError, match="plausible"):
        read_idx(huge)


def _cifar(n=20, classes=10):
    return RNG.integers(0, 256, (n, 3072), np.uint8), (np.arange(n) % classes).astype(np.uint8)


def test_cifar10_in_both_layouts(tmp_path):
    data, labels = _cifar()
    binary, python = tmp_path / "b" / "cifar-10-batches-bin", tmp_path / "p" / "cifar-10-batches-py"
    binary.mkdir(parents=True)
    python.mkdir(parents=True)
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        (binary / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], data], 1).tobytes())
        (python / name).write_bytes(
            pickle.dumps({b"data": data, b"labels": labels.tolist(), b"batch_label": b"x"}, protocol=2)
        )
    first, second = sr.load_data("cifar10", root=tmp_path / "b"), sr.load_data("cifar10", root=tmp_path / "p")
    assert len(first.train) == 40 and first.classes[3] == "cat" and "only 40" in first.note
    for a, b in zip(first.train.all(), second.train.all(), strict=True):
        assert torch.equal(a, b)
    red = first.test.all()[0][0, 0].mul(255).round().flatten()
    np.testing.assert_array_equal(red, data[0, :1024])


def test_cifar100_in_both_layouts(tmp_path):
    data, labels = _cifar(200, 100)
    coarse = (labels // 5).astype(np.uint8)
    for part in ("train", "test"):
        (tmp_path / f"{part}.bin").write_bytes(
            np.concatenate([coarse[:, None], labels[:, None], data], 1).tobytes()
        )
    first = sr.load_data("cifar100", root=tmp_path)
    assert len(first.classes) == 100
    np.testing.assert_array_equal(first.train.y, labels)
    other = tmp_path / "python"
    other.mkdir()
    for part in ("train", "test"):
        content = {b"data": data, b"fine_labels": labels.tolist(), b"coarse_labels": coarse.tolist()}
        (other / part).write_bytes(pickle.dumps(content, protocol=2))
    assert torch.equal(sr.load_data("cifar100", root=other).train.all()[0], first.train.all()[0])


class _Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_malicious_batch_runs_nothing(tmp_path, capsys):
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": _Evil(), b"labels": [0]}))
    with pytest.raises(InputError, match=r"asks for builtins\.print; nothing was run"):
        read_python(path, ("a", "b"))
    assert not capsys.readouterr().out


def test_damaged_cifar_is_one_sentence(tmp_path):
    data, labels = _cifar()
    path = tmp_path / "b.bin"
    path.write_bytes(np.concatenate([labels[:, None], data], 1).tobytes()[:-5])
    with pytest.raises(InputError, match="records of 3073 bytes"):
        read_binary(path, ("a",) * 10)
    path.write_bytes(np.concatenate([labels[:, None] + 50, data], 1).tobytes())
    with pytest.raises(InputError, match=r"b\.bin: y: expected labels from 0 to 9"):
        read_binary(path, ("a",) * 10)
    (tmp_path / "p").write_bytes(pickle.dumps({b"data": data, b"labels": labels.tolist()})[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_python(tmp_path / "p", ("a",) * 10)
    (tmp_path / "p").write_bytes(pickle.dumps({b"data": data[:, :5], b"labels": labels.tolist()}))
    with pytest.raises(InputError, match="expected data"):
        read_python(tmp_path / "p", ("a",) * 10)
    with pytest.raises(InputError, match=r"expected data_batch_1\.bin .* --fetch cifar10"):
        sr.load_data("cifar10", root=tmp_path / "nowhere")


def _pictures(folder, sizes=((40, 30), (30, 50), (32, 32), (7, 9), (100, 32))):
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i, size in enumerate(sizes):
            Image.new("RGB" if i % 2 else "L", size, 200 if label else 20).save(folder / name / f"{i}.png")


def test_folder_of_pictures_of_any_size(tmp_path):
    _pictures(tmp_path / "all")
    splits = sr.load_data(str(tmp_path / "all"), image_size=16)
    assert (
        splits.classes == ("cat", "dog")
        and len(splits.train) == 8
        and len(splits.test) == 2
        and "random fifth" in splits.note
    )
    x, y = splits.train.all()
    assert x.shape == (8, 3, 16, 16)
    grey = torch.where(y == 1, 200 / 255, 20 / 255)  # red is drawn as red alone, grey in all channels
    torch.testing.assert_close(x[:, 0].mean((1, 2)), grey, rtol=0, atol=1e-3)


def test_imagenet_layout(tmp_path):
    _pictures(tmp_path / "imagenet" / "train")
    _pictures(tmp_path / "imagenet" / "val", sizes=((300, 200),))
    splits = sr.load_data("imagenet", root=tmp_path, image_size=24)
    assert len(splits.train) == 10 and len(splits.test) == 2 and splits.test.shape == (3, 24, 24)
    assert sr.load_data("imagenet", root=tmp_path).test.shape == (3, 224, 224)


WNIDS = [
    "n01440764",
    "n02102040",
    "n02979186",
    "n03000684",
    "n03028079",
    "n03394916",
    "n03417042",
    "n03425413",
    "n03445777",
    "n03888257",
]
TENCH_TO_PARACHUTE = (
    *("tench", "English springer", "cassette player", "chain saw", "church"),
    *("French horn", "garbage truck", "gas pump", "golf ball", "parachute"),
)


def _imagenette(folder, names=WNIDS):
    """Two pictures of each class, of mixed sizes, whose red says the class; and what others leave there."""
    for part in ("train", "val"):
        for number, name in enumerate(names):
            for i, size in enumerate(((40, 30), (30, 50))):
                place = folder / part / name / f"{name}_{i}.JPEG"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", size, (20 * number, 100, 100)).save(place)
        (folder / part / ".DS_Store").write_bytes(b"x")
        (folder / part / names[0] / ".DS_Store").write_bytes(b"x")
    (folder / "noisy_imagenette.csv").write_text("path,label")


@pytest.mark.parametrize("name", ["imagenette2", "imagenette2-320", "imagenette2-160", "mine"])
def test_imagenette_by_name(tmp_path, name):
    """Its classes have words, in the order of their numbers."""
    _imagenette(tmp_path / name)
    root = tmp_path / name if name == "mine" else tmp_path
    splits = sr.load_data("imagenette", root=root, image_size=24)
    assert splits.classes == TENCH_TO_PARACHUTE and splits.test.classes == TENCH_TO_PARACHUTE
    assert splits.note == f"pictures of {name}"
    x, y = splits.test.all()
    assert x.shape == (20, 3, 24, 24)
    torch.testing.assert_close(x[:, 0, 12, 12] * 255, 20.0 * y, atol=4, rtol=0)
    assert sr.load_data("imagenette", root=root).test.shape == (3, 224, 224)


def test_imagenette_of_the_largest_pictures_first(tmp_path):
    for name in ("imagenette2-160", "imagenette2-320"):
        _imagenette(tmp_path / name)
    assert sr.load_data("imagenette", root=tmp_path, image_size=8).note == "pictures of imagenette2-320"


def test_imagenette_that_is_none_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"expected train/ and val/ in one of .*imagenette2-160.* by hand"):
        sr.load_data("imagenette", root=tmp_path)
    _imagenette(tmp_path / "imagenette2", [*WNIDS, "n00000001"])
    with pytest.raises(InputError, match="its ten classes in .*, found n00000001 too; name a folder"):
        sr.load_data("imagenette", root=tmp_path)
    _imagenette(tmp_path / "other" / "imagenette2", WNIDS[1:])
    with pytest.raises(InputError, match="found no n01440764"):
        sr.load_data("imagenette", root=tmp_path / "other")


def test_pictures_are_resized_and_the_middle_is_cut_out(tmp_path, monkeypatch):
    """The middle of larger ones is the image; what is around it is kept for augmentations that crop."""
    _pictures(tmp_path)
    large = sr.load_data(str(tmp_path), image_size=32)
    rows = torch.tensor([3, 0])
    for most in (folder_module._MAX_IN_MEMORY, 0):
        monkeypatch.setattr(folder_module, "_MAX_IN_MEMORY", most)
        splits = sr.load_data(str(tmp_path), image_size=28, resize=32)
        for part, whole in ((splits.train, large.train), (splits.test, large.test)):
            assert part.shape == (3, 28, 28) and torch.equal(part.y, whole.y)
            x, full = part.all()[0], whole.all()[0]
            assert torch.equal(x, full[:, :, 2:30, 2:30])
            assert torch.equal(part.whole(torch.arange(len(part)))[0], full)
        assert torch.equal(
            splits.train.subset(rows).whole(torch.tensor([1]))[0], large.train.batch(rows[1:])[0]
        )
    seen = []
    training = Training(attack=sr.FGSM(sr.Linf(0.01)), epochs=1, augment="random-resized-crop+flip")
    model = sr.build_model("resnet8", 2, 0.125, image_size=28)
    model.register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape[2:])))
    boxes = RandomResizedCrop.boxes

    def noted(self, n, h, w, *rest):
        seen.append((h, w))
        return boxes(self, n, h, w, *rest)

    monkeypatch.setattr(RandomResizedCrop, "boxes", noted)
    training(model, splits.train)
    assert (32, 32) in seen and set(seen) == {(32, 32), (28, 28)}


def test_a_size_that_cannot_be(tmp_path):
    _pictures(tmp_path)
    with pytest.raises(InputError, match="resize: expected at least the image_size of 32, got 24"):
        sr.load_data(str(tmp_path), resize=24)
    with pytest.raises(InputError, match="resize: expected with a folder of pictures alone"):
        sr.load_data("digits", resize=24)


def test_many_pictures_are_decoded_when_wanted(tmp_path, monkeypatch):
    from semirobust.data import folder

    monkeypatch.setattr(folder, "_MAX_IN_MEMORY", 0)
    _pictures(tmp_path / "all")
    lazy = sr.load_data(str(tmp_path / "all"), image_size=16)
    assert not isinstance(lazy.train.pixels, torch.Tensor)
    monkeypatch.setattr(folder, "_MAX_IN_MEMORY", 1 << 30)
    for a, b in zip(
        lazy.train.all(), sr.load_data(str(tmp_path / "all"), image_size=16).train.all(), strict=True
    ):
        assert torch.equal(a, b)


def test_bad_folders_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="an .npz or a folder of pictures"):
        sr.load_data(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="at least two classes, found 0"):
        sr.load_data(str(tmp_path))
    _pictures(tmp_path / "all")
    (tmp_path / "all" / "dog" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"0\.png: expected a picture"):
        sr.load_data(str(tmp_path / "all"))
    (tmp_path / "all" / "empty").mkdir()
    with pytest.raises(InputError, match="empty: expected pictures"):
        sr.load_data(str(tmp_path / "all"))


@pytest.mark.parametrize("layout", ["NKHW", "NHWK", "NHW", "float"])
def test_npz(tmp_path, layout):
    x = RNG.integers(0, 256, (25, 8, 8, 3), np.uint8)
    x = {
        "NKHW": x.transpose(0, 3, 1, 2),
        "NHWK": x,
        "NHW": x[..., 0],
        "float": (x / 255.0).transpose(0, 3, 1, 2),
    }[layout]
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(25) % 3)
    splits = sr.load_data(str(tmp_path / "d.npz"))
    assert splits.train.shape == (1 if layout == "NHW" else 3, 8, 8) and len(splits.test) == 5
    np.savez(tmp_path / "e.npz", x_train=x, y_train=np.arange(25) % 3, x_test=x[:4], y_test=np.zeros(4, int))
    assert len(sr.load_data(str(tmp_path / "e.npz")).test) == 4


def test_bad_npz_is_one_sentence(tmp_path):
    path = tmp_path / "d.npz"
    cases = {
        "expected x and y": {"a": np.zeros(3)},
        "integer labels": {"x": np.zeros((5, 3, 4, 4), np.float32), "y": np.zeros(5)},
        "pixels in": {"x": np.full((5, 3, 4, 4), 7.0), "y": np.zeros(5, int)},
        "bytes or floats": {"x": np.zeros((5, 3, 4, 4), int), "y": np.zeros(5, int)},
        "expected 5 labels": {"x": np.zeros((5, 3, 4, 4), np.uint8), "y": np.zeros(4, int)},
    }
    for message, arrays in cases.items():
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=message):
            sr.load_data(str(path))
    np.savez(path, x=np.array([_Evil()], dtype=object), y=np.zeros(1, int))
    with pytest.raises(InputError, match="plain arrays"):
        sr.load_data(str(path))
    path.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="cannot be read"):
        sr.load_data(str(path))


def test_archives_cannot_leave_their_folder(tmp_path):
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as tar:
        entry = tarfile.TarInfo("../outside.txt")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"bad"))
    with pytest.raises(InputError, match="complete tar archive"):
        unpack(archive, tmp_path / "in")
    assert not (tmp_path / "outside.txt").exists()


def test_tensors_and_datasets():
    x, y = torch.rand(6, 3, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    images = sr.images_from_tensors(x, y)
    assert torch.equal(images.all()[0], x) and images.classes == ("0", "1", "2")
    dataset = torch.utils.data.TensorDataset(x, y)
    batch = sr.images_from_dataset(dataset).batch(torch.tensor([4, 1]))
    assert torch.equal(batch[0], x[[4, 1]]) and torch.equal(batch[1], y[[4, 1]])
    with pytest.raises(InputError, match="pixels in"):
        sr.images_from_tensors(2 + x, y)


def test_subsets_hold_out_and_order():
    images = sr.images_from_tensors(torch.rand(50, 1, 2, 2), torch.arange(50) % 5)
    rest, held = images.hold_out(0.2, Seed(("v",)))
    assert len(rest) == 40 and len(held) == 10
    rows = torch.cat([rest.all()[0], held.all()[0]]).flatten(1).tolist()
    assert sorted(rows) == sorted(images.all()[0].flatten(1).tolist())
    order = torch.cat(list(images.batches(7, seed=Seed(("o",)))))
    assert sorted(order.tolist()) == list(range(50)) and order.tolist() != list(range(50))
    with pytest.raises(InputError, match="validation"):
        images.hold_out(50, Seed(("v",)))


def test_digits_need_nothing():
    splits = sr.load_data("digits")
    assert len(splits.train) == 1297 and len(splits.test) == 500 and splits.train.shape == (1, 8, 8)


def test_no_network_says_what_to_do(tmp_path, monkeypatch):
    import pooch

    from semirobust.data.base.locate import download

    def unreachable(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch, "retrieve", unreachable)
    with pytest.raises(InputError, match=r"cannot be downloaded .* put it into"):
        download("cifar10", tmp_path)
    monkeypatch.setattr(pooch, "retrieve", lambda *a, **k: (_ for _ in ()).throw(ValueError("hash")))
    with pytest.raises(InputError, match="expected MD5"):
        download("mnist", tmp_path)
    with pytest.raises(InputError, match="to download, got 'imagenet'"):
        download("imagenet", tmp_path)


def test_a_download_ends_in_readable_data(tmp_path, monkeypatch):
    """The archive comes from a local folder in place of its official address."""
    import pooch

    from semirobust.data.base.locate import download

    data, labels = _cifar()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("data_batch_1", "test_batch"):
            content = np.concatenate([labels[:, None], data], 1).tobytes()
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))

    def fetch(url, known_hash, fname, path, downloader):
        path.mkdir(parents=True)
        (path / fname).write_bytes(packed.getvalue())

    known = CATALOGUE["cifar10"]
    md5 = hashlib.md5(packed.getvalue(), usedforsecurity=False).hexdigest()
    published = dataclasses.replace(known.remotes[0], md5=md5)
    monkeypatch.setitem(CATALOGUE, "cifar10", dataclasses.replace(known, remotes=(published,)))
    monkeypatch.setattr(pooch, "retrieve", fetch)
    download("cifar10", tmp_path)
    assert len(sr.load_data("cifar10", root=tmp_path).train) == 20


def test_the_catalogue_is_complete():
    for entry in CATALOGUE.values():
        assert entry.licence and entry.images
        assert all(len(remote.md5) == 32 for remote in entry.remotes)


def test_real_mnist_and_fashion(real_data):
    root = real_data("mnist", "fashion-mnist")
    for name, mean in (("mnist", 0.1307), ("fashion-mnist", 0.2860)):
        splits = sr.load_data(name, root=root)
        x, _ = splits.train.all()
        assert len(splits.train) == 60_000 and len(splits.test) == 10_000
        assert float(x.mean()) == pytest.approx(mean, abs=1e-3)


def test_real_cifar_sample_from_its_archive(real_data, tmp_path):
    unpack(real_data("cifar10-sample.tar.gz") / "cifar10-sample.tar.gz", tmp_path)
    splits = sr.load_data("cifar10", root=tmp_path)
    assert len(splits.train) == 10_000 and len(splits.test) == 2_000
    assert splits.test.all()[0].mean((0, 2, 3)).tolist() == pytest.approx([0.494, 0.484, 0.450], abs=0.02)
