"""Whether clean accuracy is what the network is capable of, or the images are not what it was trained on."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semirobust.core.interval import at_least
from semirobust.core.outputs import is_outermost, logits_of, note
from semirobust.core.seed import Seed
from semirobust.core.text import first_line
from semirobust.layers.quiet import device_of, quiet
from semirobust.models.base.as_classifier import normalisation_of
from semirobust.models.base.classifier import Classifier, Normalise, Normalised
from semirobust.models.normalisations import NORMALISATIONS

__all__ = ["looked_at", "note_plausibility", "plausibility"]

_LOG = logging.getLogger("semirobust.evaluation")
_LOOKED_AT, _PIXELS = 256, 256 * 3 * 32 * 32  # images, and about so many values; at least _FEWEST images
_FEWEST = 64
_BATCH = 64
_FAR = 0.1  # that accuracy has to rise by
_ALIKE = 0.02  # of accuracy, between ways that are about as good
_LEVEL = 0.99  # of the interval of accuracy that tells it from chance
_P = 1e-4  # of that rise by chance, since about ten ways are tried
_FEWEST_ALIKE = 20  # images, for one answer to all to be no accident
_FIRST, _FALL = 64, 4  # images that a way is tried on first, and the net loss there that ends it
_FOLD = 5  # images of a label, for the labels to be what is guessed among


def note_plausibility(models: Mapping[str, nn.Module], x: Tensor, y: Tensor) -> None:
    """Note what :func:`plausibility` says of each network, behind its name where it has one, unless another
    function of this library asks, which has looked itself.
    """
    if is_outermost(len(models)):
        for name, model in models.items():
            for sentence in plausibility(model, x, y):
                note(f"{name}: {sentence}" if name else sentence)


def plausibility(model: nn.Module, x: Tensor, y: Tensor, classes: Sequence[str] = ()) -> tuple[str, ...]:
    """What is odd about the clean accuracy of ``model``, in a sentence: it is near chance, or far higher with
    another normalisation, order of channels, range of pixels or order of classes.

    Tried on at most 256 images, fewer where they are large, in about ten forward passes: none where accuracy
    is above 90 %, and only those on the first 64 images where more than 4 are lost there. Far higher is 10
    points, with p < 1e-4 by the sign test on the images whose verdict changes; the order of classes is
    chosen on one half and judged on the other. Near chance is an exact 99 % interval that holds chance and
    ends below the middle between chance and 1. Thresholds and procedure are our own choice.

    Args:
        model: gives logits (N, C). It is left as it was, and so are the caller's random numbers.
        x: (N, ...) pixels in [0, 1].
        y: (N,) labels.
        classes: their names.
    """
    rows = looked_at(len(x), x.shape[1:]).to(x.device)
    looked, labels = x[rows].to(device_of(model, x.device)), y[rows.to(y.device)].cpu().long()
    try:
        said = _odd(model, looked, labels, classes)
    except Exception as error:  # a network may take only certain numbers of examples, which others say
        _LOG.info("whether clean accuracy is plausible was not looked at (%s)", first_line(error))
        return ()
    return (said,) if said else ()


def _odd(model: nn.Module, looked: Tensor, labels: Tensor, classes: Sequence[str]) -> str:
    """The sentence; empty for none."""
    with quiet(model), torch.no_grad(), (Seed(("plausible",)) / "network").globally():
        own = _own_normalisation(model)
        logits = _logits(model, looked)
        given = _answers(logits)
        found = [_best(model, looked, labels, given == labels, own), _reordered(given, labels, classes)]
    # Where both would help, one of the two is the reason.
    return max(found, key=lambda each: each[0])[1] or _chance(given, labels, logits.shape[1])


def looked_at(count: int, shape: Sequence[int]) -> Tensor:
    """Which of ``count`` images of that shape are looked at, evenly spaced, since they may be sorted."""
    few = min(count, max(_FEWEST, min(_LOOKED_AT, _PIXELS // max(1, math.prod(shape)))))
    return torch.arange(few) * count // few


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([logits_of(model(part.clone())).double().cpu() for part in x.split(_BATCH)])


def _answers(logits: Tensor) -> Tensor:
    """The class given to each example, -1 where its logits are not finite."""
    return logits.argmax(1).where(torch.isfinite(logits).all(1), -1)


@dataclass(frozen=True)
class _Way:
    """Another way to hand over the images.

    Attributes:
        said: how, in words that follow "with".
        remedy: what mends it.
        x: the images.
    """

    said: str
    remedy: str
    x: Tensor


def _own_normalisation(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The normalisation that a network of this library begins with; None where none is known."""
    inside = () if isinstance(model, torch.jit.ScriptModule) else model.children()
    for module in (each for each in (model, *inside) if not isinstance(each, torch.jit.ScriptModule)):
        own = module.normalise if isinstance(module, Classifier) else None
        first = module[0] if isinstance(module, Normalised) else own
        if isinstance(first, Normalise):
            return tuple(first.mean.flatten().tolist()), tuple(first.std.flatten().tolist())
        if (hooked := normalisation_of(module)) is not None:
            return hooked
    return None


def _ways(x: Tensor, own: tuple[tuple[float, ...], tuple[float, ...]] | None) -> Iterator[_Way]:
    channels = x.shape[1] if x.dim() == 4 else 1
    for name, usual in NORMALISATIONS.items():
        by_channel = usual.on(channels)
        if by_channel is None or (name == "none" and own is None):
            continue
        mean, std = by_channel
        z = (x - _shaped(mean, x)) / _shaped(std, x)
        if own is not None:  # instead of its own, which comes after
            z = z * _shaped(own[1], x) + _shaped(own[0], x)
        numbers = f"mean={_listed(mean)}, std={_listed(std)}"
        yield _Way(usual.title, f"--normalisation {name}, in Python sr.as_classifier(model, {numbers})", z)
    if x.dim() == 4 and channels == 3:
        yield _Way("blue, green, red in place of red, green, blue", "--bgr, in Python x.flip(1)", x.flip(1))


def _shaped(values: Sequence[float], x: Tensor) -> Tensor:
    tensor = torch.tensor(values, dtype=x.dtype, device=x.device)
    return tensor.view(-1, *(1,) * (x.dim() - 2)) if x.dim() == 4 else tensor[0]


def _listed(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"


def _best(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    right: Tensor,
    own: tuple[tuple[float, ...], tuple[float, ...]] | None,
) -> tuple[float, str]:
    """The way in which accuracy is highest, where that is far higher, and those about as good: the accuracy
    and the sentence.
    """
    tried: list[tuple[_Way, Tensor]] = []
    if int((~right).sum()) < _FAR * len(y):  # none can be far better
        return 0.0, ""
    for way in _ways(x, own):
        try:
            found = _answers(_logits(model, way.x[:_FIRST])) == y[:_FIRST]
            if int(found.sum()) < int(right[:_FIRST].sum()) - _FALL:
                continue
            rest = _answers(_logits(model, way.x[_FIRST:])) if len(y) > _FIRST else found[:0]
            tried.append((way, torch.cat([found, rest == y[_FIRST:]])))
        except Exception as error:  # a network can refuse pixels outside [0, 1] in any way
            _LOG.info("the network was not tried with %s (%s)", way.said, first_line(error))
    if not tried:
        return 0.0, ""
    best, most = max(tried, key=lambda each: int(each[1].sum()))
    if not _far_better(right, most):
        return 0.0, ""
    alike = [
        way.said for way, found in tried if way is not best and most.sum() - found.sum() <= _ALIKE * len(y)
    ]
    also = f" (about as high: {', '.join(alike)})" if alike else ""
    return float(most.double().mean()), (
        f"clean accuracy is {_share(right)}, and {_share(most)} with {best.said}{also}, on {len(y)} images;"
        f" it looks as if the network was trained so: {best.remedy}"
    )


def _reordered(given: Tensor, y: Tensor, classes: Sequence[str]) -> tuple[float, str]:
    """The order of classes in which accuracy is far higher: the accuracy and the sentence.

    Which output a label is comes from the even rows of each label, and whether that holds from the odd ones.
    """
    outputs: dict[int, int] = {}
    judged = torch.zeros(len(y), dtype=torch.bool)
    for label in y.unique().tolist():
        rows = (y == label).nonzero().flatten()
        judged[rows[1::2]] = True
        if len(own := given[rows[::2]][given[rows[::2]] >= 0]):
            outputs[label] = int(own.mode().values)
    if len(set(outputs.values())) < max(2, len(outputs)):
        return 0.0, ""
    expected = torch.tensor([outputs.get(label, label) for label in y.tolist()])
    before, after = (given == y)[judged], (given == expected)[judged]
    if not _far_better(before, after):
        return 0.0, ""
    moved = {label: output for label, output in outputs.items() if label != output}
    names = {label: classes[label] if label < len(classes) else label for label in moved}
    named = [f"{names[label]} as output {output}" for label, output in moved.items()]
    shown = ", ".join(named[:4]) + ", ..." * (len(moved) > 4)
    return float(after.double().mean()), (
        f"clean accuracy is {_share(before)}, and {_share(after)} with another order of the classes, on"
        f" {len(before)} images: the network answers {shown}; --classes says its names in the order of its"
        " outputs, in Python number the labels so"
    )


def _chance(given: Tensor, y: Tensor, outputs: int) -> str:
    """What to say where accuracy is near chance, or all get one answer; else nothing."""
    n, labels = len(y), len(y.unique())
    right = given == y
    guess = max(1 / outputs, 1 / labels if labels > 1 and n >= _FOLD * labels else 0.0)
    k, tail = int(right.sum()), (1 - _LEVEL) / 2
    # As the interval of Clopper & Pearson, whose ends are not needed: SciPy takes 60 MB to import.
    near = at_least(k, n, guess) >= tail and 1 - at_least(k + 1, n, (1 + guess) / 2) < tail
    remedy = "check that weights, images, classes and normalisation are those of its training"
    if labels > 1 and near:
        return f"clean accuracy is {_share(right)} on {n} images, near chance ({guess:.1%}); {remedy}"
    if labels > 1 and n >= _FEWEST_ALIKE and len(given.unique()) == 1:
        return f"all {n} images get one answer, so clean accuracy, {_share(right)}, says nothing; {remedy}"
    return ""


def _far_better(before: Tensor, after: Tensor) -> bool:
    """Whether the gain is large, and more than the luck of the best of several tries."""
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    if gained - lost < _FAR * len(before) or not gained:
        return False
    return at_least(gained, gained + lost, 0.5) < _P


def _share(right: Tensor) -> str:
    return f"{float(right.double().mean()):.1%}"
