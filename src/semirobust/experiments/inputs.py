"""The data of a command, loaded once."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from torch import nn

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed, as_seed
from semirobust.data.base.images import Images, Splits
from semirobust.data.base.load import load_data
from semirobust.data.base.mixture import mixture
from semirobust.experiments.data_section import Data
from semirobust.experiments.outputs import Naming
from semirobust.experiments.recipe import Recipe

__all__ = ["Inputs"]

_EXTRA_FRACTION = 0.7


@dataclass(frozen=True)
class Inputs:
    """The images that a recipe names, cut to the numbers it asks for.

    Attributes:
        recipe: whose data they are.
        splits: training and test images, and what a reader of numbers on them should know.
        naming: which outputs of a network their labels are; None where they are as the data have them.
        there: how many training and test images the source has.
    """

    recipe: Recipe = field(repr=False)
    splits: Splits
    naming: Naming | None = field(default=None, repr=False)
    there: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, recipe: Recipe) -> "Inputs":
        """Load the data of a recipe.

        Raises:
            InputError: nothing of that name, or files that are missing or damaged.
        """
        d = recipe.data
        splits = _loaded(d, d.source)
        there = (len(splits.train), len(splits.test))
        if d.classes:
            train, test = (images.of_classes(d.classes) for images in (splits.train, splits.test))
            there = (len(train), len(test))
            splits = Splits(splits.name, train, test, splits.note)
        if d.draw:
            seed = _split_seed(recipe) / "draw"
            train = splits.train.drawn(d.train, seed / "train")
            test = splits.test.drawn(d.test, seed / "test")
        else:
            train, test = splits.train.first(d.train), splits.test.first(d.test)
        return cls(recipe, Splits(splits.name, train, test, splits.note), there=there)

    def under(self, recipe: Recipe) -> "Inputs":
        """The images of another recipe; these same ones, not loaded again, where it names no others."""
        same = recipe.data == self.recipe.data and recipe.seed == self.recipe.seed
        if same:
            return self
        other = Inputs.of(recipe)
        if self.naming is None:
            return other
        if other.splits.classes != self.naming.classes:
            raise InputError(f"data: expected the classes of {self.splits.name} in {other.splits.name} too")
        return other.named(self.naming)

    def named(self, naming: Naming) -> "Inputs":
        """The same images, labelled by the outputs of a network."""
        return replace(self, splits=naming.on(self.splits), naming=naming)

    def fitting(self, model: nn.Module) -> "Inputs":
        """The same images, whose batches have the dtype of the network's parameters."""
        return replace(self, splits=self.splits.fitting(model))

    def said(self, test: int | None = None, *, training: bool = False) -> tuple[str, ...]:
        """What to say before the work: how many images are used of how many, and what is to be known of them.

        Args:
            test: how many test images at most; None for all.
            training: whether there is training, too.
        """
        name, n = self.splits.name, len(self.splits.test.first(test))
        counts = f"{n:,} of its {self.there[1]:,} test images"
        if training:
            held_out = self.held_out
            of = f"{len(self.splits.train):,} of its {self.there[0]:,} training images"
            counts = f"{of} ({len(held_out):,} of them held out for validation) and {counts}"
        channels = " x ".join(map(str, self.splits.test.shape))
        drawn = f", drawn by seed {_split_seed(self.recipe)}" if self.recipe.data.draw else ""
        used = f"{name}: {counts} are used{drawn}, {channels}, of {len(self.splits.classes)} classes"
        if not training and self.there[0] and Path(self.recipe.data.source).exists():
            used += f"; the other {self.there[0]:,} of its {sum(self.there):,} images are for training"
        return (used, *((f"{name}: {self.splits.note}",) if self.splits.note else ()))

    @property
    def train(self) -> Images:
        """The training images that are not held out, with extra ones mixed in where the recipe names some."""
        return self._parts[0]

    @property
    def held_out(self) -> Images:
        """The training images held out for validation. A run and whatever continues it agree on them."""
        return self._parts[1]

    @property
    def test(self) -> Images:
        """The test images."""
        return self.splits.test

    @cached_property
    def _parts(self) -> tuple[Images, Images]:
        d = self.recipe.data
        rest, held_out = self.splits.train.hold_out(d.validation, _split_seed(self.recipe) / "validation")
        if d.extra_share is not None and not d.extra:
            raise InputError(
                "data.extra: expected a second source of images, since data.extra_share is given; got none"
            )
        if d.extra and d.extra == d.source:  # its images are among those held out
            raise InputError(f"data.extra: expected another source than {d.source}")
        if d.extra:
            extra = _loaded(d, d.extra, held_out=False).train
            extra = extra.of_classes(d.classes) if d.classes else extra
            extra = extra if self.naming is None else self.naming.of(extra)
            rest = mixture(rest, extra, _EXTRA_FRACTION if d.extra_share is None else d.extra_share)
        return rest, held_out


def _split_seed(recipe: Recipe) -> Seed:
    """The seed by which images are chosen."""
    return as_seed(recipe.seed if recipe.data.split_seed is None else recipe.data.split_seed)


def _loaded(data: Data, source: str, *, held_out: bool = True) -> Splits:
    """The images of one of the sources of a recipe. Where there are two, what is said of files of one kind is
    for those of that kind.
    """
    packed = Path(source).suffix.lower() == ".npz"
    return load_data(
        source,
        root=data.root,
        image_size=data.image_size,
        held_out=held_out,
        layout=data.layout if packed or not data.extra else None,
        skip_bad=data.skip_bad and not (packed and bool(data.extra)),
        links=data.links,
        resize=None if packed and data.extra else data.resize,
    )
