"""The section of a recipe that says which images."""

from dataclasses import dataclass, field

from semirobust.core.budget import BUDGET
from semirobust.core.checks import check_counts_given
from semirobust.core.errors import InputError
from semirobust.core.settings import setting
from semirobust.data import SOURCES
from semirobust.data.base.arrays import LAYOUTS

__all__ = ["Data"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which images.

    Attributes:
        source: a known data set (see ``semirobust data``), an .npz file, or a folder of pictures.
        root: the folder in which a known data set lies.
        image_size: the side to which pictures of a folder are brought; 32 where none is given, or what the
            configuration of a network of another library says.
        resize: the length to which the short side of pictures is brought before the middle ``image_size`` is
            cut out, such as 256 for 224; that size itself where none is given.
        layout: where the channels of an .npz are, NCHW or NHWC; needed where its shape does not tell.
        skip_bad: leave out pictures of a folder that cannot be read; how many is said.
        links: follow the links within the folder of the data, for a folder that is your own.
        classes: only images of these, by number and renumbered in this order; all where empty.
        train, test: how many images at most.
        validation: fraction (or number) of training images held out to choose the best epoch.
        draw: draw training and test images by the seed, rather than take the first of each. Then runs of
            several seeds differ in their images too, and so do intervals over them.
        split_seed: seed of which images are held out, and of which are drawn; that of the run where none is
            given. What continues a run keeps the run's.
        extra: other training images to mix in, named like ``source``.
        extra_share: the fraction of every batch that is of ``extra``; 0.7 where none is given.
    """

    source: str = field(default="digits", metadata=setting(flag="--data", names=SOURCES))
    root: str | None = field(default=None, metadata=setting(flag="--data-root"))
    image_size: int | None = field(default=None, metadata=setting(flag="--image-size"))
    resize: int | None = field(default=None, metadata=setting(flag="--resize"))
    layout: str | None = field(default=None, metadata=setting(flag="--layout"))
    skip_bad: bool = field(default=False, metadata=setting(flag="--skip-bad"))
    links: bool = field(default=False, metadata=setting(flag="--data-links"))
    classes: tuple[int, ...] = ()
    train: int | None = None
    test: int | None = None
    validation: float = 0.1
    draw: bool = False
    split_seed: int | None = None
    extra: str = ""
    extra_share: float | None = None

    def __post_init__(self) -> None:
        check_counts_given(
            1, image_size=self.image_size, resize=self.resize, train=self.train, test=self.test
        )
        if self.image_size is not None and self.image_size > BUDGET.image_size:
            raise InputError(f"image_size: expected at most {BUDGET.image_size:,}, got {self.image_size:,}")
        if self.layout not in (None, *LAYOUTS):
            raise InputError(f"layout: expected {' or '.join(LAYOUTS)}, got {self.layout!r}")
        if min(self.classes, default=0) < 0:
            raise InputError(f"classes: expected numbers from 0 on, got {self.classes}")
        if self.validation < 0:
            raise InputError(f"validation: expected a fraction or a number of images, got {self.validation}")
        if self.extra_share is not None and not 0 <= self.extra_share < 1:
            raise InputError(f"extra_share: expected from 0 to below 1, got {self.extra_share}")
