"""The form of every attack."""

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from semirobust.attacks.base.goals import AbstractGoal, Fool, Maximise
from semirobust.attacks.base.gradients import blind_note
from semirobust.attacks.base.losses import cross_entropy
from semirobust.attacks.base.sight import Tally, watched, watching
from semirobust.core.allocator import keep_freed_memory
from semirobust.core.checks import check_examples, check_images, check_mode, probe
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.foreign_calls import called_as, missing_method
from semirobust.core.numerals import as_whole
from semirobust.core.plain import anywhere
from semirobust.core.processes import ALONE, Processes
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.settings import setting
from semirobust.core.text import first_line
from semirobust.core.typed import Typed
from semirobust.fast.layout import in_layout, suited
from semirobust.fast.model import FastModel
from semirobust.layers.quiet import quiet
from semirobust.threats import AbstractBall, AbstractThreat
from semirobust.threats.base.ball import HALF, per_example

__all__ = ["AbstractAttack", "AbstractBallAttack", "Precision"]

Precision = Literal["any", "full"]

_LOG = logging.getLogger("semirobust.attacks")


class AbstractAttack(Typed, ABC):
    """Looks for ``x_adv`` in the threat model around ``x`` at which a goal's loss is high.

    A concrete attack is a frozen dataclass that gives :meth:`search`; the three ways to call it are the same
    for all.

    Attributes:
        threat: the perturbations allowed.
        uses_gradients: whether its search does; else a network without them can be attacked.
        precision: of the logits that its search needs: ``full`` where its steps are smaller than half
            precision can tell apart.
        pictures: whether it moves pixels or windows, and so needs images (N, K, H, W).
    """

    like: ClassVar[str] = "PGD(Linf(8/255), steps=10)"

    threat: AbstractThreat
    uses_gradients: ClassVar[bool] = True
    precision: ClassVar[Precision] = "any"
    pictures: ClassVar[bool] = False

    if not TYPE_CHECKING:  # attributes that are not there are none

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(missing_method(type(self).__name__, name))

    def __post_init__(self) -> None:
        for f in dataclasses.fields(cast(Any, self)):
            if f.type is int:  # of NumPy's own kinds too, which names and records would show otherwise
                object.__setattr__(self, f.name, as_whole(getattr(self, f.name)))

    @property
    @abstractmethod
    def name(self) -> str:
        """How it is called in tables and on the command line, such as ``pgd-20``."""

    @property
    def cost(self) -> int:
        """Passes through the model for each example, forward and backward counted alike."""
        return 1

    @property
    def parts(self) -> "tuple[AbstractAttack, ...]":
        """The attacks it consists of, each for the examples that are still correctly classified; itself for a
        single one.
        """
        return (self,)

    def left_out(self, tally: Tally) -> str:
        """What a reader must know of work that the search left out; empty where it left out none."""
        return ""

    @abstractmethod
    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        """``x_adv`` for the batch ``x``; the model behind ``goal`` is already quiet."""

    @called_as("attack(model, x, y, seed=0)")
    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, seed: int | Seed = 0) -> Tensor:
        """Untargeted attack on the cross entropy of ``model``, at full strength on every example.

        Args:
            model: gives logits (N, C); in eval mode. It is left as it was.
            x: (N, ...) pixels in [0, 1].
            y: (N,) true labels.
            seed: the source of all randomness; equal seeds give equal results.

        Returns:
            x_adv, shaped like ``x``, in the threat model.

        Raises:
            InputError: one of the arguments is not as described.
        """
        return self._on_model(model, x, y, as_seed(seed), early_exit=False, form=None)

    def in_batches(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        seed: Seed,
        batch_size: int = 256,
        processes: Processes = ALONE,
        progress: Progress = silent,
    ) -> Tensor:
        """Like a call, ``batch_size`` examples at a time; the batch that begins at example i has the seed
        ``seed / i``.

        Of several ``processes`` each does some of the batches, and all get all.
        """
        starts, parts = range(0, len(x), batch_size), []
        for number, i in enumerate(starts):
            if processes.takes(number):
                parts.append(self(model, x[i : i + batch_size], y[i : i + batch_size], seed=seed / i))
                progress(self.name, min(i + batch_size, len(x)), len(x))
        return torch.cat([part.to(x.device) for part in processes.gather(parts, len(starts))])

    def fool(
        self, model: nn.Module, x: Tensor, y: Tensor, *, seed: int | Seed = 0, form: FastModel | None = None
    ) -> Tensor:
        """Like a call, but an example is left alone as soon as it is misclassified: the same verdict, sooner.

        ``form`` is what to search with in place of ``model``, which still decides who is misclassified.
        """
        return self._on_model(model, x, y, as_seed(seed), early_exit=True, form=form)

    def towards(self, model: nn.Module, x: Tensor, target: Tensor | int, *, seed: int | Seed = 0) -> Tensor:
        """Targeted attack: lowers the cross entropy of the class ``target``. :class:`semirobust.Targeted` is
        the same as an attack of its own, for :func:`semirobust.evaluate`.

        Args:
            model, x, seed: as in a call.
            target: (N,) the class that each example is to have, or one for all.

        Returns:
            x_adv, shaped like ``x``, in the threat model; ``model(x_adv).argmax(1) == target`` is where it
            was reached.

        Raises:
            InputError: classes that the model does not have, or an attack that cannot raise any loss.
        """
        return self._toward(model, x, target, as_seed(seed))

    @anywhere
    @on_classifiers("model")
    def _toward(self, model: nn.Module, x: Tensor, target: Any, seed: Seed) -> Tensor:
        y = torch.as_tensor(target, device=x.device)
        y = y.expand(len(x)) if y.dim() == 0 else y
        check_examples(x, y)
        self.check_shape(x)
        check_mode(model)
        with quiet(model), (seed / "network").globally():
            probe(model, x, y)
            x_adv = self.maximise(lambda z: -cross_entropy(model(z), y.long()), x, seed=seed).detach()
        return self.within_threat(x, x_adv)

    def maximise(self, loss: Callable[[Tensor], Tensor], x: Tensor, *, seed: int | Seed = 0) -> Tensor:
        """Raise any ``loss(x_adv) -> (N,)``, a feature distance for example. The caller keeps the model
        quiet.
        """
        keep_freed_memory()
        return self._raised(loss, x, lambda goal, z: self.search(goal, z, as_seed(seed)))

    def check_shape(self, x: Tensor) -> None:
        """Examples ``x`` have the dimensions that this attack needs.

        Raises:
            InputError: they are no images, and one of its parts needs such.
        """
        if any(part.pictures for part in self.parts):
            check_images(x, self.name, "; pgd, apgd and fab take examples of any shape")

    def continue_from(self, loss: Callable[[Tensor], Tensor], x: Tensor, start: Tensor) -> Tensor:
        """Like :meth:`maximise`, from given points ``start`` (N, ...) of the threat model instead of its own.

        Raises:
            InputError: this attack has no point that it starts from.
        """
        raise InputError(
            f"{self.name}: expected an attack that can start from stored perturbations, such as pgd-4"
        )

    @anywhere
    @on_classifiers("model")
    def _on_model(
        self, model: nn.Module, x: Tensor, y: Tensor, seed: Seed, *, early_exit: bool, form: FastModel | None
    ) -> Tensor:
        check_examples(x, y)
        self.check_shape(x)
        check_mode(model)
        keep_freed_memory()
        # A model may draw numbers of its own in eval mode.
        with quiet(model), (seed / "network").globally():
            probe(model, x, y)
            outer = watching()  # an evaluation, which says itself what it was told
            with watched(len(x)) if outer is None else nullcontext(outer) as sight:
                x_adv = self.perturb(model, x, y, seed, early_exit=early_exit, form=form).detach()
            if outer is None and bool(sight.blind.any()):
                _LOG.warning("%s", blind_note(self.name, int(sight.blind.sum()), len(x)))
            x_adv = self.within_threat(x, x_adv)
        return x_adv.contiguous() if x.is_contiguous() else x_adv

    def within_threat(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """``x_adv`` as it is handed over; a ball sees to it that it is inside to the last digit."""
        return x_adv

    def perturb(
        self, model: nn.Module, x: Tensor, y: Tensor, seed: Seed, *, early_exit: bool, form: FastModel | None
    ) -> Tensor:
        """``x_adv`` for arguments that were checked, the model already quiet: :meth:`search` for a
        misclassification.

        Only an attack that needs the model itself, as those of other libraries do, gives its own.
        """
        work = in_layout(x, suited(model, x) if form is None else form.layout)
        audited = form is not None and form.audited
        goal = partial(Fool, y=y, early_exit=early_exit, sight=watching(), audited=audited, network=model)
        if x.dtype in HALF:  # small steps would drown in the rounding, but what is left of a point counts
            rounded = goal(_for_half(model, x.dtype), rounded=self._rounding(x))
            return self._finish(x, self.search(rounded, work.float(), seed))
        if form is not None and form.is_copy:
            form = form.in_full_precision() if self.precision == "full" else form
            copy = goal(
                form.logits,
                verdict=form.fooled,
                certain=form.certainly_fooled,
                batch_rows=form.batch_rows,
            )
            try:
                return self.search(copy, work, seed)
            except Exception as error:  # a copy may fail on what it was not tried on
                _LOG.warning(
                    "%s searches the model, as its fast copy failed (%s)", self.name, first_line(error)
                )
            work = in_layout(x, torch.contiguous_format)
        return self.search(goal(model), work, seed)

    def _rounding(self, x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """What is left of points of a search in full precision, each of an example of ``x`` in half."""
        return lambda x_adv, examples: self._finish(x[examples], x_adv).to(x_adv.dtype)

    def _raised(
        self, loss: Callable[[Tensor], Tensor], x: Tensor, search: Callable[[AbstractGoal, Tensor], Tensor]
    ) -> Tensor:
        """What ``search(goal, x)`` finds for ``loss``, in full precision where ``x`` is in half."""
        if x.dtype not in HALF:
            return search(Maximise(loss), x)
        return self._finish(x, search(Maximise(_for_half(loss, x.dtype)), x.float()))

    def _finish(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """``x_adv``, found in full precision, in the half precision of ``x``."""
        return x_adv.to(x.dtype)


def _for_half(loss: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """A function of examples in half precision for those of a search in full precision."""
    return lambda x_adv: loss(x_adv.to(dtype)).float()


@dataclass(frozen=True)
class AbstractBallAttack(AbstractAttack):
    """An attack within a norm ball.

    Args:
        threat: the perturbations allowed.
    """

    threat: AbstractBall = field(metadata=setting(recipe=False))

    def check_shape(self, x: Tensor) -> None:
        super().check_shape(x)
        self.threat.check_radius(x)

    def _finish(self, x: Tensor, x_adv: Tensor) -> Tensor:
        return self.threat.restrict(x, x_adv)

    def within_threat(self, x: Tensor, x_adv: Tensor) -> Tensor:
        # What is farther out than rounding explains stays there, for the final check to see.
        rounding = self.threat.epsilon * 1e-3 + x[0].numel() * torch.finfo(x.dtype).eps
        near = self.threat.size(x_adv - x) <= self.threat.epsilon + rounding
        return torch.where(per_example(near, x), self.threat.tightened(x, x_adv), x_adv)
