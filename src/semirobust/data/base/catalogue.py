"""The public data sets: files, checksums, sizes and licences."""

from dataclasses import dataclass

__all__ = ["CATALOGUE", "Entry", "Remote"]


@dataclass(frozen=True)
class Remote:
    """One file at its official address.

    Attributes:
        url: its address.
        md5: its checksum, as published with it.
        megabytes: its size.
    """

    url: str
    md5: str
    megabytes: float

    @property
    def filename(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Entry:
    """One data set.

    Attributes:
        name: its name on the command line.
        folder: the sub-folder of a data root in which it is looked for.
        images: their number and size, in words.
        licence: terms and credit.
        remotes: its files; none where scikit-learn ships it or it must be downloaded by hand.
        other_folders: sub-folders in which it is looked for after that.
    """

    name: str
    folder: str
    images: str
    licence: str
    remotes: tuple[Remote, ...] = ()
    other_folders: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[str, ...]:
        """All sub-folders of a data root in which it is looked for."""
        return (*((self.folder,) if self.folder else ()), *self.other_folders)

    @property
    def megabytes(self) -> float:
        return sum(remote.megabytes for remote in self.remotes)


_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"

_ENTRIES = (
    Entry(
        "digits", "", "1,797 of 8x8, embedded in scikit-learn", "CC BY 4.0; Alpaydin & Kaynak, UCI repository"
    ),
    Entry(
        "mnist",
        "mnist",
        "60,000 + 10,000 of 28x28",
        "CC BY-SA 3.0; LeCun, Cortes & Burges",
        (
            Remote(_MNIST + "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9.9),
            Remote(_MNIST + "train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 0.03),
            Remote(_MNIST + "t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1.6),
            Remote(_MNIST + "t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 0.005),
        ),
    ),
    Entry(
        "fashion-mnist",
        "fashion-mnist",
        "60,000 + 10,000 of 28x28",
        "MIT; Zalando SE",
        (
            Remote(_FASHION + "train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26.4),
            Remote(_FASHION + "train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 0.03),
            Remote(_FASHION + "t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4.4),
            Remote(_FASHION + "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 0.005),
        ),
    ),
    Entry(
        "cifar10",
        "cifar10",
        "50,000 + 10,000 of 32x32",
        "no licence stated; credit Krizhevsky 2009",
        (Remote(_CIFAR + "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", 170),),
    ),
    Entry(
        "cifar100",
        "cifar100",
        "50,000 + 10,000 of 32x32",
        "no licence stated; credit Krizhevsky 2009",
        (Remote(_CIFAR + "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", 169),),
    ),
    Entry(
        "imagenet",
        "imagenet",
        "1,281,167 + 50,000, train/ and val/ by class",
        "non-commercial research; image-net.org, by hand",
    ),
    Entry(
        "imagenette",
        "imagenette2",
        "9,469 + 3,925 of ten classes of ImageNet, train/ and val/ by class",
        "lists Apache 2.0, pictures as ImageNet's; github.com/fastai/imagenette, by hand",
        other_folders=("imagenette2-320", "imagenette2-160"),
    ),
)

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""The data sets known by name."""
