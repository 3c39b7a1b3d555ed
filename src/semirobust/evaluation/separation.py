"""Whether a ball is so large that it holds images of other classes."""

from torch import Tensor

from semirobust.evaluation.plausible import looked_at
from semirobust.threats.base.ball import AbstractBall

__all__ = ["separation"]

_FEW = 64  # images that are compared with each other
_SMALL = 1 / 20  # of the largest distance between two images; below it images are not compared


def separation(ball: AbstractBall, x: Tensor, y: Tensor) -> str:
    """A sentence where the ball around an image of ``x`` holds another one of another class, so that no
    network can be robust there; else nothing.

    At most 64 images are compared, evenly spaced, and none where epsilon is below a twentieth of the largest
    distance between two images, where that does not happen. Both numbers are our own choice; that robustness
    needs classes further apart than the ball is what Yang et al. (2020), A Closer Look at Accuracy vs.
    Robustness, call r-separation.

    Args:
        ball: around each image.
        x: (N, ...) images.
        y: (N,) their labels.
    """
    if ball.epsilon < _SMALL * ball.whole(x):
        return ""
    rows = looked_at(min(len(x), _FEW), x.shape[1:]) * (len(x) // min(len(x), _FEW))
    images, labels = x[rows.to(x.device)].float(), y[rows.to(y.device)].to(x.device)
    held = sum(
        bool(((ball.size(images - image) <= ball.epsilon) & (labels != label)).any())
        for image, label in zip(images, labels, strict=True)
    )
    if not held:
        return ""
    meant = f"; was {ball.epsilon:g}/255 meant?" if 1 <= ball.epsilon <= 255 else ""
    return (
        f"the ball {ball} around {held} of {len(images)} images holds an image of another class, so no"
        f" network is robust there{meant}"
    )
