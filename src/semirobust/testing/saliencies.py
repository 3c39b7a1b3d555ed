"""What every saliency must do."""

import torch

from semirobust.attacks.fgsm import FGSM
from semirobust.core.seed import as_seed
from semirobust.testing.base.check import Subject, demanded, require
from semirobust.testing.base.network import network, small_images, untouched
from semirobust.threats.linf import Linf

__all__: list[str] = []


def _scored(subject: Subject) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Scores, and the weights that they are of."""
    model = network()
    for parameter in model.parameters():
        parameter.requires_grad_()
    weights = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    with untouched(model):
        found = subject.make()(model, weights, small_images(), FGSM(Linf(8 / 255)), as_seed(3))
    return found, dict(weights)


@demanded("saliencies")
def a_score_for_each_weight(subject: Subject) -> None:
    """Give finite scores in the shape of the weights, or of the classifier alone; leave the model alone."""
    found, weights = _scored(subject)
    require(found, "there are no scores")
    require(found.keys() == weights.keys() or found.keys() == {"linear.weight"}, f"scores of {list(found)}")
    for name, scores in found.items():
        require(scores.shape == weights[name].shape, f"the scores of {name} have another shape")
        require(torch.isfinite(scores).all(), f"a score of {name} is not finite")
        require(not scores.requires_grad, f"the scores of {name} require a gradient")


@demanded("saliencies")
def equal_seeds_give_equal_scores(subject: Subject) -> None:
    """Give the same scores again for equal seeds."""
    (one, _), (other, _) = _scored(subject), _scored(subject)
    require(all(torch.equal(one[name], other[name]) for name in one), "equal seeds give other scores")
