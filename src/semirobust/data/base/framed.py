"""Pictures that were kept larger than the images that are made of them."""

from dataclasses import dataclass, replace

from torch import Tensor

from semirobust.data.base.images import Images, Pixels

__all__ = ["Framed", "framed"]


@dataclass(frozen=True)
class Framed:
    """Pixels of which the middle is the image, as is usual in evaluation. What lies around it is there for an
    augmentation that crops.

    Attributes:
        source: (N, K, S, S), or something indexed like it.
        side: of the middle.
    """

    source: Tensor | Pixels
    side: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: Tensor) -> Tensor:
        found = self.source[rows]
        first = (found.shape[-1] - self.side) // 2
        return found[..., first : first + self.side, first : first + self.side]

    def whole(self, rows: Tensor) -> Tensor:
        """(n,) indices -> (n, K, S, S)."""
        return self.source[rows]


def framed(images: Images, side: int) -> Images:
    """The same images, of which batches have the middle."""
    return replace(images, pixels=Framed(images.pixels, side))
