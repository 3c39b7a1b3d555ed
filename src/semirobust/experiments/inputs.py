"""The data of a command, loaded once."""

from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import nn

from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.data.base.images import Images, Splits
from semirobust.data.base.load import load_data
from semirobust.data.base.mixture import mixture
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
    """

    recipe: Recipe = field(repr=False)
    splits: Splits
    naming: Naming | None = field(default=None, repr=False)

    @classmethod
    def of(cls, recipe: Recipe) -> "Inputs":
        """Load the data of a recipe.

        Raises:
            InputError: nothing of that name, or files that are missing or damaged.
        """
        d = recipe.data
        splits = load_data(d.source, root=d.root, image_size=d.image_size)
        if d.classes:
            train, test = (images.of_classes(d.classes) for images in (splits.train, splits.test))
            splits = Splits(splits.name, train, test, splits.note)
        train, test = splits.train.first(d.train), splits.test.first(d.test)
        return cls(recipe, Splits(splits.name, train, test, splits.note))

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
        seed = self.recipe.seed if d.split_seed is None else d.split_seed
        rest, held_out = self.splits.train.hold_out(d.validation, as_seed(seed) / "validation")
        if d.extra_share is not None and not d.extra:
            raise InputError(
                "data.extra: expected a second source of images, since data.extra_share is given; got none"
            )
        if d.extra and d.extra == d.source:  # its images are among those held out
            raise InputError(f"data.extra: expected another source than {d.source}")
        if d.extra:
            extra = load_data(d.extra, root=d.root, image_size=d.image_size, held_out=False).train
            extra = extra.of_classes(d.classes) if d.classes else extra
            extra = extra if self.naming is None else self.naming.of(extra)
            rest = mixture(rest, extra, _EXTRA_FRACTION if d.extra_share is None else d.extra_share)
        return rest, held_out
