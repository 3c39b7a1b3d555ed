"""Which form of a network attacks search: the network itself, or a faster copy where that is as good.

An attack only looks for a point. What is trained on that point, and who counts as fooled by it, is always
decided by the network itself. The copy may therefore differ from it by some rounding, and how much is
tolerated depends on the use:

- a trained model (:func:`fast_model`) is compared once, by its logits;
- a network in training (:class:`FastFollower`) is compared at the start of each epoch, by the gradient of the
  inner loss, since its weights move.

Both try the forms of :data:`CANDIDATES` and take the first that agrees. Choices depend on model, images and
processor alone, never on a clock, so that equal seeds give equal results. Why a form was not taken is logged
under ``semirobust.fast``.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from semirobust.core.devices import costs_a_wait
from semirobust.core.errors import InputError
from semirobust.core.margin import margin
from semirobust.core.outputs import note
from semirobust.core.seed import Seed
from semirobust.core.text import first_line
from semirobust.fast.agreement import deviation, first_order, gradient_of
from semirobust.fast.copy import Faster, has_bfloat16
from semirobust.fast.graphs import Replayed, can_replay
from semirobust.fast.model import FastModel
from semirobust.fast.runtime import ForwardOnly
from semirobust.fast.sizes import RoundSizes
from semirobust.layers.macs import macs_by_module
from semirobust.layers.quiet import device_of, quiet
from semirobust.threats import AbstractBall

__all__ = [
    "AS_IT_IS",
    "CANDIDATES",
    "Candidate",
    "Fast",
    "FastFollower",
    "InnerOf",
    "check_fast",
    "fast_copy",
    "fast_for_evaluation",
    "fast_model",
]

_LOG = logging.getLogger("semirobust.fast")

Fast = Literal["auto", "graphs", "onnx", "off"]
"""``auto``: a faster copy where it agrees with the network, and no work that would change nothing, which is
audited; ``graphs``: in an evaluation its launches on a CUDA device are also recorded and replayed, elsewhere
as ``auto``; ``onnx``: in an evaluation on the CPU its passes that need no gradient run in ONNX Runtime, if
that agrees too, elsewhere as ``auto``; ``off``: always the network itself, and all work.
"""
InnerOf = Callable[[nn.Module], Callable[[Tensor], Tensor] | None]
"""The inner loss ``x_adv -> (N,)`` of an objective for a network; None for one without an attack."""

AS_IT_IS = "as it is, full precision"


@dataclass(frozen=True)
class Candidate:
    """A form to try, and what counts as agreeing.

    Attributes:
        dtype: precision of the copy behind its first layer.
        min_macs: MACs an image from which on it is faster for attacks on a trained model.
        max_deviation: largest deviation of an example's logits, as a fraction of their spread.
        margin_slack: what is added to twice the deviation seen, for the band of margins not to be trusted.
        min_gain: of the rise of the inner loss that the network's own gradient promises to first order, the
            fraction that the copy's gradient must promise too, on average over some training images.
    """

    dtype: torch.dtype
    min_macs: float
    max_deviation: float
    margin_slack: float
    min_gain: float


# The fastest first.
CANDIDATES = (
    Candidate(torch.bfloat16, min_macs=5e5, max_deviation=0.03, margin_slack=1e-3, min_gain=0.9),
    Candidate(torch.float32, min_macs=0.0, max_deviation=1e-3, margin_slack=1e-4, min_gain=0.99),
)

_AGREEING = 0.98  # of the examples, since a few may lie where logits hardly differ
_BUSY = 1.5e9, 0.75e9  # MACs of a batch that keep a processor busy, and in full precision, which is larger
_MIN_EXAMPLES = 16  # below, comparing takes longer than the copy saves


def check_fast(fast: str) -> None:
    """Raise ``InputError`` for anything but ``auto``, ``graphs``, ``onnx`` and ``off``."""
    if fast not in get_args(Fast):
        raise InputError(f"fast: expected auto, graphs, onnx or off; got {fast!r}")


def fast_copy(model: nn.Module, x: Tensor, dtype: torch.dtype = torch.float32) -> Faster | None:
    """A copy of ``model`` for images like ``x``; None, and the reason in the log, where there can be none."""
    copy: Faster | None = None
    with _logged(dtype):
        copy = Faster(model, x, dtype)
    return copy


def fast_for_evaluation(model: nn.Module, x: Tensor, *, fast: Fast) -> FastModel | None:
    """:func:`fast_model` for an evaluation that attacks all of ``x``; None where they are too few to pay."""
    check_fast(fast)
    if len(x) < _MIN_EXAMPLES and fast != "off":
        _LOG.info("fast copy not used because only %d examples are attacked", len(x))
        _note_no_runtime(fast, f"only {len(x)} examples are attacked, and {_MIN_EXAMPLES} must be to pay")
        return None
    compared = min(max(len(x) // 8, 4), 32)  # so that comparing costs less than a pass over the examples
    return fast_model(model, x[:compared].to(device_of(model, x.device)), fast=fast)


def fast_model(model: nn.Module, x: Tensor, *, fast: Fast = "auto") -> FastModel:
    """The form of a trained ``model`` to attack on images like ``x``.

    A form agrees where on 98 % of the images, as they are and off any grid of 1/255, its logits deviate by no
    more than its ``max_deviation``, and where its gradient raises the model's own margin by at least its
    ``min_gain`` of what the best direction does, to first order. Twice the largest deviation is the band of
    margins that the model itself is asked about.

    Args:
        model: in eval mode; it is copied, never changed.
        x: (N, K, H, W) images to compare on; each costs some six forward passes.
        fast: ``off`` takes the model as it is. So does a model that does not run on so many images at once.
    """
    check_fast(fast)
    as_it_is = FastModel(model, model, AS_IT_IS, 0.0, torch.contiguous_format, audited=fast != "off")
    if not _applies(fast, x):
        _note_no_runtime(fast, "the input is no batch of images in full precision")
        return as_it_is
    x, truth, work = torch.cat([x, 0.731 * x + 0.113]), None, None
    with _logged(torch.float32):
        with quiet(model), torch.no_grad():
            truth = model(x)
        work = sum(macs_by_module(model, x).values())
    if truth is None or work is None:
        _note_no_runtime(fast, "the network does not run on so many images at once")
        return as_it_is
    half, full = (_agreeing(c, model, x, truth) if _suits(c, work, x.device) else None for c in CANDIDATES)
    full = full or as_it_is
    if fast == "graphs" and can_replay(x.device):
        half, full = (None if form is None else _replayed(form) for form in (half, full))
        full = full or as_it_is
    if fast == "onnx":
        full = _in_runtime(full, x, truth)
        half = half and replace(half, description=f"{half.description}{full.runtime}")
    rows, of_full = (512 if costs_a_wait(x) else min(max(int(b / max(work, 1)), 32), 128) for b in _BUSY)
    return replace(half or full, full=half and replace(full, batch_rows=of_full), batch_rows=rows)


class FastFollower:
    """The form of a network in training to attack: itself, or a copy that follows its weights.

    A form agrees where the direction that its gradient points in raises the network's own loss by at least
    its ``min_gain`` of what the best direction would, to first order. The gradients of the inner loss are
    compared at random points of the ball at the start of each epoch.

    Args:
        model: the network in training.
        fast: ``off`` takes the network as it is.
    """

    def __init__(self, model: nn.Module, fast: Fast) -> None:
        check_fast(fast)
        self._model, self._fast = model, fast
        self._copies: dict[torch.dtype, Faster] | None = None
        self._chosen: Faster | None = None

    @property
    def description(self) -> str:
        """What is attacked now, in words."""
        return AS_IT_IS if self._chosen is None else self._chosen.description

    @property
    def form(self) -> str:
        """The name of what is attacked now, for :meth:`resume`; empty for the network itself."""
        return next((str(dtype) for dtype, form in (self._copies or {}).items() if form is self._chosen), "")

    def resume(self, form: str, x: Tensor) -> None:
        """Continue with the form of that name, as it was chosen before the run was interrupted."""
        copies = self._made(x) if form else {}
        self._chosen = next((copy for dtype, copy in copies.items() if str(dtype) == form), None)

    def choose(self, inner_of: InnerOf, x: Tensor, threat: AbstractBall, seed: Seed) -> None:
        """Choose the form for an epoch by the inner loss around ``x`` (n, K, H, W)."""
        self._chosen = None
        copies = self._made(x) if _applies(self._fast, x) else {}
        if not copies:
            return
        start = threat.restrict(x, x + threat.sample(x, seed))
        with quiet(self._model):
            truth = gradient_of(inner_of(self._model), start)
            if truth is None:
                return
            best = first_order(truth, threat.ascent(truth))
            for candidate in CANDIDATES:
                if (copy := copies.get(candidate.dtype)) is None:
                    continue
                gradient = None
                with _logged(candidate.dtype):
                    copy.refresh()
                    gradient = gradient_of(inner_of(copy.network), start)
                if gradient is None:
                    continue
                gain = first_order(truth, threat.ascent(gradient)) / best.clamp_min(1e-30)
                if (mean := float(gain.mean())) >= candidate.min_gain:
                    self._chosen = copy
                    return
                _not_used(
                    candidate.dtype, f"its gradient raises the loss by {mean:.1%} of what the best does"
                )

    def give_up(self, error: Exception) -> None:
        """Attack the network itself until the next choice, since the copy failed with ``error``."""
        _LOG.warning("the network itself is attacked, as its fast copy failed (%s)", first_line(error))
        self._chosen = None

    def network(self) -> nn.Module:
        """What to attack in this step, with the weights of now."""
        if self._chosen is None:
            return self._model
        self._chosen.refresh()
        return self._chosen.network

    def _made(self, x: Tensor) -> dict[torch.dtype, Faster]:
        """The copies there can be, made once; none where the one in full precision does not keep up."""
        if self._copies is None:
            self._copies = {}
            full, follows = fast_copy(self._model, x), False
            with _logged(torch.float32):
                follows = full is not None and full.follows(x[:8])
            if full is not None and not follows:
                _not_used(torch.float32, "it does not follow a change of the weights")
            if full is not None and follows:
                half = fast_copy(self._model, x, torch.bfloat16) if has_bfloat16(x.device) else None
                self._copies = {torch.float32: full} | ({} if half is None else {torch.bfloat16: half})
        return self._copies


def _applies(fast: Fast, x: Tensor) -> bool:
    """Whether there may be a copy at all for these images."""
    if fast == "off":
        return False
    if x.dim() != 4 or x.dtype != torch.float32:
        _LOG.info("fast copy not used because the input is no batch of images in full precision")
        return False
    return True


def _suits(candidate: Candidate, work: float, device: torch.device) -> bool:
    return work >= candidate.min_macs and (candidate.dtype == torch.float32 or has_bfloat16(device))


def _agreeing(candidate: Candidate, model: nn.Module, x: Tensor, truth: Tensor) -> FastModel | None:
    """The form, its band of margins set, if its logits agree with the ``truth`` (N, C)."""
    with _logged(candidate.dtype):
        form = _uncompared(candidate, model, x)
        with torch.no_grad():
            error = deviation(form.logits(x), truth)
        agreeing = float((error <= form.band).float().mean())
        gain = _gain(form, model, x, truth) if agreeing > _AGREEING else 1.0
        if gain < candidate.min_gain:
            _not_used(candidate.dtype, f"its gradient raises the margin by {gain:.1%} of what the best does")
        elif agreeing > _AGREEING:
            band = min(form.band, 2 * float(error.max()) + candidate.margin_slack)
            return replace(form, band=band, logits=RoundSizes(form.logits))
        else:
            _not_used(candidate.dtype, f"its logits agree on {agreeing:.0%} of the images alone")
    return None


def _in_runtime(form: FastModel, x: Tensor, truth: Tensor) -> FastModel:
    """The form in full precision, its passes without a gradient in ONNX Runtime if its logits agree with the
    ``truth`` (N, C) there too; else as it was, and a note that says why.
    """
    network = form.logits.logits if isinstance(form.logits, RoundSizes) else form.model
    assert isinstance(network, nn.Module)
    reason = "it failed; the log says how"
    with _logged(torch.float32):
        try:
            runtime = ForwardOnly(form.logits, network, x)
            error, most = runtime.deviations(x, truth), CANDIDATES[-1]
            agreeing = float((error <= most.max_deviation).float().mean())
            if agreeing > _AGREEING:
                band = min(most.max_deviation, 2 * float(error.max()) + most.margin_slack)
                said = f", passes without a gradient in full precision by ONNX Runtime {runtime.version}"
                return replace(
                    form,
                    logits=runtime,
                    band=max(band, form.band),
                    description=f"{form.description}{said}",
                    runtime=said,
                )
            reason = f"its logits agree on {agreeing:.0%} of the images alone"
        except InputError as why:
            reason = str(why)
    _note_no_runtime("onnx", reason)
    return form


def _note_no_runtime(fast: Fast, reason: str) -> None:
    """Tell who asked for ONNX Runtime by name that it is not used."""
    if fast == "onnx":
        note(f"ONNX Runtime was asked for and is not used ({reason})")


def _gain(form: FastModel, model: nn.Module, x: Tensor, truth: Tensor) -> float:
    """By how much the signs of the form's gradient raise the model's margin to first order, as a fraction of
    what those of the model's own do: the mean over images on which this has a gradient, 1 where none has.
    """
    label = truth.argmax(1)
    with quiet(model):
        own = gradient_of(lambda z: margin(model(z), label), x)
        if own is None:
            return 1.0
        other = gradient_of(lambda z: margin(form.logits(z), label), x)
    best = first_order(own, own.sign())
    seen = (best > 0) & torch.isfinite(best)
    if other is None or not bool(seen.any()):
        return 0.0 if other is None else 1.0
    return float((first_order(own, other.nan_to_num(0).sign())[seen] / best[seen]).mean())


def _uncompared(candidate: Candidate, model: nn.Module, x: Tensor) -> FastModel:
    copy = Faster(model, x, candidate.dtype)
    return FastModel(model, copy.network, copy.description, candidate.max_deviation)


def _replayed(form: FastModel) -> FastModel:
    """A copy whose launches are recorded; the model itself is left as it is."""
    if not isinstance(form.logits, RoundSizes):
        return form
    recorded = RoundSizes(Replayed(form.logits.logits))
    return replace(form, logits=recorded, description=f"{form.description}, launches recorded")


@contextmanager
def _logged(dtype: torch.dtype) -> Iterator[None]:
    """Log why a copy cannot be made or run, and go on without it: any module must work, copied or not."""
    try:
        yield
    except InputError as error:
        _not_used(dtype, str(error))
    except Exception:
        _LOG.warning("fast copy in %s not used because it failed", dtype, exc_info=True)


def _not_used(dtype: torch.dtype, reason: str) -> None:
    _LOG.info("fast copy in %s not used because %s", dtype, reason)
