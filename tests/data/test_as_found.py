"""Data sets, folders and arrays as people have them: each is read rightly, or refused in one sentence."""

import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.data.base.dataset import images_from_dataset
from semirobust.data.base.picture import decode
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.recipe import read_recipe
from tests.kinds import kind

RNG = np.random.default_rng(7)


def _idx(folder, level, name="{part}-{kind}-ubyte", labels_2d=False):
    """A tiny data set of images of one grey level."""
    for part in ("train", "t10k"):
        for what, shape, body in (
            ("images-idx3", (12, 28, 28), bytes([level]) * (12 * 784)),
            ("labels-idx1", (12, 1) if labels_2d else (12,), bytes(i % 10 for i in range(12))),
        ):
            file = folder / name.format(part=part, kind=what)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + body)


def _level(name, root):
    return int(sr.load_data(name, root=root).train.pixels[0, 0, 0, 0])


def _pictures(folder, classes=("cat", "dog"), count=5, size=(12, 12), suffix=".png"):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", size, (60 + 100 * label,) * 3).save(folder / name / f"{i}{suffix}")
    return folder


def _load(folder, **more):
    return sr.load_data(str(folder), image_size=12, **more)


@kind(
    "MNIST, Fashion-MNIST and KMNIST side by side in one folder",
    "each is found under its own name, by its contents or by its folder's name",
    about="data",
)
def test_data_sets_with_the_same_file_names(tmp_path):
    for level, name in enumerate(("KMNIST", "Fashion_MNIST", "MNIST_data"), 1):
        _idx(tmp_path / name, level)
    assert _level("mnist", tmp_path) == 3 and _level("fashion-mnist", tmp_path) == 2
    assert "taken for it by its place" in sr.load_data("mnist", root=tmp_path).note


@kind("another data set alone under MNIST's file names", "refused; what was found is named", about="data")
def test_another_data_set_is_not_given(tmp_path):
    _idx(tmp_path / "FashionMNIST" / "raw", 1)
    with pytest.raises(InputError, match=r"found only .*fashion-mnist"):
        sr.load_data("mnist", root=tmp_path)
    with pytest.raises(InputError, match="found only"):
        sr.load_data("mnist", root=tmp_path / "FashionMNIST" / "raw")


@kind(
    "two folders with MNIST's file names, and no name tells which is which",
    "refused; both are named",
    about="data",
)
def test_folders_that_do_not_tell(tmp_path):
    _idx(tmp_path / "a", 1)
    _idx(tmp_path / "b", 2)
    with pytest.raises(InputError, match="do not tell; name the right one"):
        sr.load_data("mnist", root=tmp_path)


@kind("Fashion-MNIST in a folder called mnist", "its contents are known, and it is refused", about="data")
def test_contents_count_more_than_names(tmp_path, real_data):
    import shutil

    source = real_data("fashion-mnist") / "fashion-mnist"
    for file in source.glob("*.gz"):
        (tmp_path / "MNIST").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "MNIST" / file.name)
    with pytest.raises(InputError, match=r"MNIST \(fashion-mnist\)"):
        sr.load_data("mnist", root=tmp_path)
    assert not sr.load_data("fashion-mnist", root=tmp_path).note


@pytest.mark.parametrize(
    "name",
    [
        "MNIST/raw/{part}-{kind}-ubyte",
        "{part}-{kind}.ubyte",
        "{part}-{kind}-ubyte/{part}-{kind}-ubyte",
        "archive/{part}-{kind}-ubyte/{part}-{kind}-ubyte",
        "MNIST/{part}-{kind}-UBYTE",
    ],
)
@kind(
    "MNIST as torchvision, Kaggle or another unpacker lays it out",
    "found; a folder of a file's name is no file",
    about="data",
)
def test_layouts_of_idx_files(tmp_path, name):
    _idx(tmp_path, 4, name)
    assert _level("mnist", tmp_path) == 4
    _idx(tmp_path / "dots", 5, name.replace("-{kind}", ".{kind}", 1) if name[0] == "{" else name)


@kind(
    "a file called .gz that the browser has unpacked, and labels of shape (N, 1)",
    "read by what they hold",
    about="data",
)
def test_unpacked_gz_and_labels_in_a_column(tmp_path):
    _idx(tmp_path, 6, "{part}-{kind}-ubyte.gz", labels_2d=True)
    assert _level("mnist", tmp_path) == 6
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(file.read_bytes()))
    assert _level("mnist", tmp_path) == 6


@kind("two folders of CIFAR-10 batches with other contents", "refused; both are named", about="data")
def test_two_cifars(tmp_path):
    for level, name in ((1, "cifar-10-batches-bin"), (2, "cifar-10-corrupted")):
        (tmp_path / name).mkdir()
        for batch in ("data_batch_1", "test_batch"):
            (tmp_path / name / f"{batch}.bin").write_bytes((b"\1" + bytes([level]) * 3072) * 4)
    with pytest.raises(InputError, match="expected one folder with data_batch_1"):
        sr.load_data("cifar10", root=tmp_path)


@kind(
    "what macOS, Windows, notebooks and network storage leave among pictures",
    "no classes and no pictures",
    about="data",
)
def test_litter(tmp_path):
    _pictures(tmp_path)
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "cat" / name).write_bytes(b"\0\5\x16\7")
    for name in ("__MACOSX/cat", ".ipynb_checkpoints", "@eaDir", ".git", "$RECYCLE.BIN"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "._1.png").write_bytes(b"\0")
        (tmp_path / name / "1.png").write_bytes(b"\0")
    (tmp_path / "dog" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "dog" / ".ipynb_checkpoints" / "0-checkpoint.png").write_bytes(b"\0")
    splits = _load(tmp_path)
    assert splits.classes == ("cat", "dog") and len(splits.train) + len(splits.test) == 10


@pytest.mark.parametrize(
    "names", [("Train", "Test"), ("training", "VALID"), ("TRAIN", "validation"), ("train", "testing")]
)
@kind("splits called Train, training, valid, testing", "splits, never classes of these names", about="data")
def test_names_of_splits(tmp_path, names):
    _pictures(tmp_path / names[0])
    _pictures(tmp_path / names[1], count=2)
    splits = _load(tmp_path)
    assert splits.classes == ("cat", "dog") and (len(splits.train), len(splits.test)) == (10, 4)


@kind(
    "train and test with pictures in them and no classes, a test folder alone, or Train beside training",
    "refused; what to do is said",
    about="data",
)
def test_splits_that_cannot_be_used(tmp_path):
    _pictures(tmp_path / "flat", ("train", "test"))
    with pytest.raises(InputError, match="a sub-folder for each class in train"):
        _load(tmp_path / "flat")
    _pictures(tmp_path / "alone" / "test")
    with pytest.raises(InputError, match="expected train beside test"):
        _load(tmp_path / "alone")
    for name in ("Train", "training", "test"):
        _pictures(tmp_path / "twice" / name)
    with pytest.raises(InputError, match="one folder for each split, got Train and training"):
        _load(tmp_path / "twice")
    for name in ("cat", "dog"):
        _pictures(tmp_path / "below" / name, ("train", "test"))
    with pytest.raises(InputError, match="splits below the classes"):
        _load(tmp_path / "below")


@kind(
    "train without test, and folders besides", "a fifth is held out; what is left out is named", about="data"
)
def test_train_alone(tmp_path):
    _pictures(tmp_path / "train")
    _pictures(tmp_path / "unlabelled", ("x", "y"))
    splits = _load(tmp_path)
    assert len(splits.test) == 2 and "unlabelled is left out" in splits.note and "random fifth" in splits.note


@kind("a class of trains beside planes and ships", "a class", about="data")
def test_a_class_called_train(tmp_path):
    assert _load(_pictures(tmp_path, ("plane", "ship", "train"))).classes == ("plane", "ship", "train")


@kind(
    "a class that the test folder lacks, or that it alone has",
    "numbered by the training classes and said; refused",
    about="data",
)
def test_classes_of_one_split(tmp_path):
    _pictures(tmp_path / "a" / "train", ("ant", "bee", "cow"))
    _pictures(tmp_path / "a" / "test", ("bee", "cow"))
    splits = _load(tmp_path / "a")
    assert splits.test.classes == ("ant", "bee", "cow") and set(splits.test.y.tolist()) == {1, 2}
    assert "test has no pictures of ant" in splits.note
    (tmp_path / "a" / "test" / "ant").mkdir()
    assert "test has no pictures of ant" in _load(tmp_path / "a").note
    _pictures(tmp_path / "b" / "train", ("bee", "cow"))
    _pictures(tmp_path / "b" / "test", ("Bee", "cow"))
    with pytest.raises(InputError, match="got Bee in test alone"):
        _load(tmp_path / "b")


@kind("class folders that differ in case only", "refused; both are named", about="data")
def test_case_of_classes(tmp_path):
    with pytest.raises(InputError, match="got 'Cat' and 'cat'"):
        _load(_pictures(tmp_path, ("Cat", "cat", "dog")))


@kind("endings such as .JPG, .JFIF and .jpe, and pictures in folders below a class", "pictures", about="data")
def test_endings(tmp_path):
    _pictures(tmp_path)
    (tmp_path / "cat" / "more" / "deep").mkdir(parents=True)
    for name in ("A.JPG", "b.JPEG", "more/c.JFIF", "more/deep/d.jpe"):
        Image.new("RGB", (12, 12)).save(tmp_path / "cat" / name, "JPEG")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    splits = _load(tmp_path)
    assert len(splits.train) + len(splits.test) == 14
    assert "no pictures are left out: 1 (.txt)" in splits.note


@pytest.mark.parametrize("name", ["photo.HEIC", "photo.jpg"])
@kind("photos of a phone in HEIC, also where they are called .jpg", "refused by name", about="data")
def test_heic(tmp_path, name):
    _pictures(tmp_path)
    (tmp_path / "cat" / name).write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    with pytest.raises(InputError, match=rf"cat/{name}: expected a picture, got HEIC.* convert it"):
        _load(tmp_path)


@kind("a photo that lies on its side and says so in its EXIF", "turned upright", about="data")
def test_exif(tmp_path):
    picture = Image.new("RGB", (8, 8))
    picture.paste((255, 255, 255), (0, 0, 8, 4))  # the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    picture.save(tmp_path / "0.png", exif=exif)
    pixels = decode(tmp_path / "0.png", 8, "0.png").pixels
    assert int(pixels[:, :, 4:].min()) == 255 and int(pixels[:, :, :4].max()) == 0


def _value(folder, picture, name="0.png", **more):
    """What a picture is read as, in the middle."""
    folder.mkdir(exist_ok=True)
    picture.save(folder / name, **more)
    return decode(folder / name, 8, name).pixels[:, 4, 4].tolist()


@kind("pictures of 16 bits, and of floats in [0, 1]", "scaled by what their format says", about="data")
def test_deep_pictures(tmp_path):
    half = Image.fromarray(np.full((8, 8), 32768, np.uint16))
    assert _value(tmp_path, half) == [128] * 3
    assert _value(tmp_path, half, "0.tif") == [128] * 3
    assert _value(tmp_path, Image.fromarray(np.full((8, 8), 0.5, np.float32)), "1.tif") == [128] * 3


@kind("pictures of 12 bits in files of 16", "refused where all are; said where some are", about="data")
def test_dim_pictures(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / name / f"{i}.png")
    with pytest.raises(InputError, match="as if of 12 bits"):
        _load(tmp_path)
    Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(tmp_path / "a" / "4.png")
    assert "8 of 9 pictures of 16 bits are nowhere above a sixteenth" in _load(tmp_path).note


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((8, 8), 200, np.uint16), "read as black"),
        (np.full((8, 8), 100_000, np.int32), "32 bits"),
        (np.full((8, 8), 127.5, np.float32), "floats in"),
        (np.full((8, 8), -0.5, np.float32), "floats in"),
        (np.full((8, 8), np.nan, np.float32), "floats in"),
    ],
)
@kind(
    "a deep picture whose range its format does not say, or that would be black",
    "refused with its range, never clipped",
    about="data",
)
def test_pictures_of_an_unknown_range(tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        _value(tmp_path, Image.fromarray(values), "0.tif")


@kind("pictures that are transparent in part", "laid on white; how many is said", about="data")
def test_transparent(tmp_path):
    _pictures(tmp_path / "all")
    clear = Image.new("RGBA", (12, 12), (0, 0, 0, 0))
    clear.save(tmp_path / "all" / "cat" / "0.png")
    assert _value(tmp_path / "one", clear) == [255] * 3
    assert _value(tmp_path / "one", Image.new("RGBA", (9, 9), (10, 20, 30, 255))) == [10, 20, 30]
    assert _value(tmp_path / "one", Image.new("LA", (9, 9), (10, 0))) == [255] * 3
    assert "1 of 10 pictures are transparent" in _load(tmp_path / "all").note


@kind("grey pictures among coloured ones, and animated ones", "said; the first frame is taken", about="data")
def test_grey_and_animated(tmp_path):
    _pictures(tmp_path)
    Image.new("L", (12, 12), 90).save(tmp_path / "cat" / "0.png")
    frames = [Image.new("RGB", (12, 12), (level, 0, 0)) for level in (250, 10)]
    frames[0].save(tmp_path / "dog" / "a.gif", save_all=True, append_images=frames[1:])
    note = _load(tmp_path).note
    assert "1 of 11 pictures are grey" in note and "of 1 pictures with several frames the first" in note


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "an empty file"), (b"\x89PNG no more", "cannot be read")]
)
@kind(
    "a picture that is empty or damaged",
    "named with its path; left out and counted by --skip-bad",
    about="data",
)
def test_bad_pictures(tmp_path, content, what):
    _pictures(tmp_path / "train")
    _pictures(tmp_path / "test", count=2)
    (tmp_path / "test" / "dog" / "1.png").write_bytes(content)
    with pytest.raises(InputError, match=rf"test/dog/1\.png: expected a picture, got .*{what}.*--skip-bad"):
        _load(tmp_path)
    splits = _load(tmp_path, skip_bad=True)
    assert len(splits.test) == 3 and splits.test.y.bincount().tolist() == [2, 1]
    assert "1 of 14 pictures cannot be read and are left out (test/dog/1.png)" in splits.note


@kind("a class none of whose pictures can be read", "refused, even with --skip-bad", about="data")
def test_a_class_of_bad_pictures(tmp_path):
    _pictures(tmp_path, count=1)
    (tmp_path / "dog" / "0.png").write_bytes(b"x")
    with pytest.raises(InputError, match="dog: expected pictures, got none that can be read"):
        _load(tmp_path, skip_bad=True)


def test_bad_pictures_of_what_is_read_batch_by_batch(tmp_path, monkeypatch):
    from semirobust.data import folder

    monkeypatch.setattr(folder, "_MAX_IN_MEMORY", 0)
    _pictures(tmp_path)
    (tmp_path / "dog" / "3.png").write_bytes(b"x")
    splits = _load(tmp_path, skip_bad=True)
    assert len(splits.train) + len(splits.test) == 9 and "1 of 10 pictures" in splits.note
    red = torch.where(splits.train.y == 1, 160 / 255, 60 / 255)
    torch.testing.assert_close(splits.train.all()[0][:, 0, 3, 3], red)


def _npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("shape", [(3, 9, 3), (9, 9, 2), (4, 9, 9), (9, 9, 9), (1, 9, 1), (9, 9, 13)])
@kind("arrays whose shape does not tell where the channels are", "refused; --layout says it", about="data")
def test_ambiguous_layout(tmp_path, shape):
    x = RNG.integers(0, 256, (20, *shape), np.uint8)
    path = _npz(tmp_path / "d.npz", x=x, y=np.arange(20) % 2)
    with pytest.raises(InputError, match=r"--layout NHWC or --layout NCHW"):
        sr.load_data(path)
    assert sr.load_data(path, layout="NCHW").train.shape == shape
    assert sr.load_data(path, layout="NHWC").train.shape == (shape[2], *shape[:2])
    for layout, source in (("NCHW", "digits"), ("KHW", path)):
        with pytest.raises(InputError, match="layout: expected"):
            sr.load_data(source, layout=layout)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (RNG.random((20, 1, 8, 8)) * 255, r"divide by 255"),
        (RNG.random((20, 1, 8, 8)) * 2 - 1, r"\(x \+ 1\) / 2"),
        (RNG.standard_normal((20, 1, 8, 8)), r"undo the normalisation"),
        (RNG.random((20, 1, 8, 8)) / 255, r"multiply them by 255"),
        (RNG.integers(0, 2, (20, 1, 8, 8)).astype(np.uint8), r"read as black"),
        (RNG.integers(0, 256, (20, 1, 8, 8)), r"astype\('uint8'\)"),
    ],
)
@kind(
    "arrays of floats in 0 to 255, standardised ones, bytes of 0 and 1, integers of 64 bits",
    "refused; what to do is said",
    about="data",
)
def test_values_of_arrays(tmp_path, x, message):
    with pytest.raises(InputError, match=message):
        sr.load_data(_npz(tmp_path / "d.npz", x=x, y=np.arange(20) % 2))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.eye(4)[np.arange(20) % 4], r"one-hot rows of 4; give y\.argmax\(1\)"),
        (RNG.integers(0, 2, (20, 14)) | 1, r"several labels are not supported"),
        (np.arange(20) % 2 - 1, r"labels from 0 on, got -1"),
        (np.array(["cat", "dog"] * 10), r"number the classes"),
        (np.linspace(0, 1, 20), r"integer labels"),
    ],
)
@kind(
    "labels that are one-hot, several, negative, fractions or words",
    "refused; what to do is said",
    about="data",
)
def test_labels_of_arrays(tmp_path, y, message):
    with pytest.raises(InputError, match=message):
        sr.load_data(_npz(tmp_path / "d.npz", x=RNG.random((20, 1, 8, 8)), y=y))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint64])
@kind(
    "labels of any integer type, of shape (N, 1), or from 1 on",
    "read; that no label is 0 is said",
    about="data",
)
def test_types_of_labels(tmp_path, dtype):
    y = (np.arange(20) % 3 + 1).astype(dtype)[:, None]
    splits = sr.load_data(_npz(tmp_path / "d.npz", x=RNG.random((20, 1, 8, 8)), y=y))
    assert set(splits.train.y.tolist()) == {1, 2, 3} and "no label is 0 (they go from 1 to 3)" in splits.note


@kind(
    "the entries of MedMNIST, or of one that has only validation beside training",
    "read and said",
    about="data",
)
def test_medmnist(tmp_path):
    x, y = RNG.integers(0, 256, (20, 8, 8, 3), np.uint8), (np.arange(20) % 3).astype(np.uint8)[:, None]
    parts = {f"{part}_images": x[:n] for part, n in (("train", 20), ("val", 5), ("test", 7))}
    parts |= {f"{part}_labels": y[:n] for part, n in (("train", 20), ("val", 5), ("test", 7))}
    splits = sr.load_data(_npz(tmp_path / "pathmnist.npz", **parts))
    assert splits.train.shape == (3, 8, 8) and (len(splits.train), len(splits.test)) == (20, 7)
    assert "its 5 images for validation are left out" in splits.note
    rest = {name: array for name, array in parts.items() if "test" not in name}
    assert len(sr.load_data(_npz(tmp_path / "b.npz", **rest)).test) == 5
    splits = sr.load_data(_npz(tmp_path / "c.npz", X_train=x, Y_train=y, X_test=x[:3], Y_test=y[:3]))
    assert len(splits.test) == 3


class _Items(torch.utils.data.Dataset):
    """Items by a function of their number."""

    def __init__(self, item, n=20, **attributes):
        self.item, self.n = item, n
        self.__dict__.update(attributes)

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index >= self.n:
            raise IndexError(index)
        return self.item(index)


def _plain(i):
    return torch.full((1, 4, 4), i / 20)


@kind(
    "a Dataset whose targets are not the labels of its items",
    "the labels are those of its items",
    about="data",
)
def test_targets_that_lie():
    targets = [i % 10 for i in range(20)]
    one_differs = _Items(lambda i: (_plain(i), 7 if i == 13 else targets[i]), targets=targets)
    assert images_from_dataset(one_differs).y[13] == 7
    part = torch.utils.data.Subset(one_differs, [13, 2])
    both = torch.utils.data.ConcatDataset([part, one_differs])
    assert images_from_dataset(both).y[:3].tolist() == [7, 2, 0]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            torch.utils.data.DataLoader(
                [(_plain(0), 0)] * 2, sampler=torch.utils.data.SubsetRandomSampler([0])
            ),
            r"SubsetRandomSampler says; hand over its \.dataset",
        ),
        ({"train": [], "test": []}, "hand over one of train, test"),
        (iter([(_plain(0), 0)]), "map-style"),
        (_Items(lambda i: (2 * _plain(i) - 1, 0)), "normalisation into the model"),
        (_Items(lambda i: (_plain(i), torch.eye(3)[i % 3])), "one-hot"),
        (_Items(lambda i: (_plain(i), "cat")), "number the classes"),
        (_Items(lambda i: (torch.zeros(1, 4, 4 + i % 2), 0)), "one shape"),
        (_Items(lambda i: (torch.zeros(9, 9, 3), 0)), r"permute\(2, 0, 1\)"),
        (_Items(lambda i: {"pixels": _plain(i), "label": 0}), "expected one of image, img, pixel_values"),
        (_Items(lambda i: [][i]), "item 0 cannot be read"),
        (_Items(_plain), "expected .image, label."),
    ],
)
@kind(
    "a DataLoader of a part, several Datasets by name, normalised items, one-hot labels",
    "refused; what to do is said",
    about="data",
)
def test_datasets_that_cannot_be_used(dataset, message):
    with pytest.raises(InputError, match=message):
        images_from_dataset(dataset)


@kind(
    "a Hugging Face data set of dictionaries with PIL images",
    "read, with the names of its classes",
    about="data",
)
def test_dictionaries_of_pil_images():
    class Names:
        names = ["cat", "dog"]

    for mode, channels in (("RGB", 3), ("L", 1), ("P", 3)):
        picture = Image.new(mode, (6, 5))
        images = images_from_dataset(
            _Items(lambda i, p=picture: {"image": p, "label": i % 2}, features={"image": 0, "label": Names})
        )
        assert images.shape == (channels, 5, 6) and images.classes == ("cat", "dog")
    array = np.full((7, 9, 3), 255, np.uint8)
    assert float(images_from_dataset([(array, np.int64(1))] * 3).all()[0].min()) == 1


@kind("a recipe that uses some of the images", "how many of how many is said before the work", about="data")
def test_counts_are_said(tmp_path):
    _pictures(tmp_path / "p", count=50)
    recipe = read_recipe(None, {"data.source": str(tmp_path / "p"), "data.test": 15, "data.train": 40})
    used, note = Inputs.of(recipe).said(10, training=True)
    assert "40 of its 80 training images (4 of them held out for validation)" in used
    assert "10 of its 20 test images are used, 3 x 32 x 32, of 2 classes" in used
    assert "random fifth" in note


@kind(
    "a Dataset with random transforms, whose items are others each time",
    "one reading is kept: attack and verdict are about the same image",
    about="data",
)
def test_random_items_are_read_once(caplog):
    images = images_from_dataset(_Items(lambda i: (torch.rand(1, 4, 4), i % 2)))
    assert torch.equal(images.all()[0], images.all()[0]) and "one reading of all" in caplog.text


@kind("tensors with the channels last, or bytes of 0 and 1", "refused; what to do is said", about="data")
def test_tensors_that_cannot_be_used():
    for x, message in (
        (torch.rand(4, 8, 8, 3), r"permute\(0, 3, 1, 2\)"),
        (torch.ones(4, 1, 8, 8, dtype=torch.uint8), "read as black"),
    ):
        with pytest.raises(InputError, match=message):
            sr.images_from_tensors(x, torch.tensor([0, 1, 0, 1]))
