"""The sections of a recipe: the library's own dataclasses, put together for each command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from semirobust.attacks import AbstractAttack
from semirobust.core.checks import check_counts_given
from semirobust.core.errors import InputError
from semirobust.core.nearest import meant
from semirobust.core.settings import setting
from semirobust.dependence import DEPENDENCES
from semirobust.experiments.loggers import check_loggers
from semirobust.experiments.validation import Validation
from semirobust.fast.policy import Fast
from semirobust.measures import AbstractLayerMeasure
from semirobust.measures.criticality import Criticality
from semirobust.methods import AbstractMethod
from semirobust.methods.clat import CriticalFineTuning
from semirobust.models import MODELS
from semirobust.models.normalisations import NORMALISATIONS
from semirobust.procedures.lottery import Lottery
from semirobust.procedures.recovery import Recovery
from semirobust.pruning.channels import Channels
from semirobust.threats import NORMS, AbstractBall
from semirobust.training.training import Training

__all__ = [
    "Evaluate",
    "Harden",
    "Model",
    "Numerics",
    "Profile",
    "Prune",
    "Recover",
    "Threat",
    "Train",
]

_OF_LEVELS = ("saliency", "saliency_options", "steps", "min_fraction")  # or left at their defaults
_NO_OBJECTIVE = ("objective", "objective_options")
_TEN_EPOCHS = Training(epochs=10, learning_rate=0.01)


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which architecture.

    Attributes:
        name: the architecture; on the command line also timm:NAME, torchvision:NAME, hf:OWNER/NAME,
            robustbench:NAME and package.module:factory.
        width: factor on the architecture's channels, such as 0.25; of ours alone.
        options: what the architecture takes besides, the keyword arguments of a factory. For networks of
            other libraries also ``pretrained``, whether they start from their own weights (true but for
            ``train`` and ``prune``), and ``num_classes``.
        mean, std: normalisation by channel; where none is given that of the training images, of networks of
            other libraries that of their configuration, and none for a factory.
        normalisation: one of the usual ones by name, in place of mean and std: none, imagenet, cifar10,
            cifar100, mnist, fashion-mnist, half (0.5 and 0.5), or bytes (the network takes pixels from 0 to
            255).
        bgr: the network takes blue, green, red.
        output: what the network returns: ``logits``, ``probabilities``, ``log-probabilities``, ``binary``
            (one logit), ``binary-probabilities``, or the name or index of a field; of ours it is ``logits``.
        checkpoint_key: the dictionary in the file of ``--checkpoint``, or the prefix in it, that holds the
            weights, such as ``state_dict_ema``; where none is given the first that fits, and it is said where
            others fit too and differ.
        classes: what the outputs of the network are called, in their order; or one file of these names, or
            ``in-order`` where they are the classes of the data. Without any, the names that its run or its
            configuration has.
    """

    name: str = field(default="resnet18", metadata=setting(flag="--model", names=MODELS))
    width: float = field(default=1.0, metadata=setting(flag="--width"))
    options: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    normalisation: str = field(default="", metadata=setting(flag="--normalisation"))
    bgr: bool = field(default=False, metadata=setting(flag="--bgr"))
    output: str = field(default="logits", metadata=setting(flag="--output"))
    checkpoint_key: str = field(default="", metadata=setting(flag="--checkpoint-key"))
    classes: tuple[str, ...] = field(default=(), metadata=setting(flag="--classes"))

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise InputError(f"width: expected a positive number, got {self.width}")
        if self.normalisation and (self.mean is not None or self.std is not None):
            raise InputError("normalisation: expected a name, or mean and std; got both")
        if self.normalisation and self.normalisation not in NORMALISATIONS:
            known = ", ".join(NORMALISATIONS)
            near = meant(self.normalisation, NORMALISATIONS)
            raise InputError(f"normalisation: expected one of {known}; got {self.normalisation!r}{near}")
        if not self.output:
            raise InputError("output: expected what the network returns, such as logits, got nothing")


@dataclass(frozen=True, kw_only=True)
class Threat:
    """What to be robust against.

    Attributes:
        norm: the norm of the ball.
        epsilon: its radius in pixel units, such as 8/255.
        insist: take a radius whose ball holds every image, which is refused else.
    """

    norm: str = field(default="linf", metadata=setting(flag="--norm", names=NORMS))
    epsilon: float = field(default=8 / 255, metadata=setting(flag="--eps"))
    insist: bool = field(default=False, metadata=setting(flag="--insist-eps"))

    def __post_init__(self) -> None:
        if self.epsilon < 0:
            raise InputError(f"epsilon: expected a radius from 0 on, got {self.epsilon}")
        _ = self.ball  # an unknown norm is said here

    @property
    def ball(self) -> AbstractBall:
        """The norm ball."""
        insist = {"insist": True} if self.insist else {}
        return NORMS.make(self.norm, {"epsilon": self.epsilon, **insist})


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """With which numbers a network is trained.

    Attributes:
        precision: ``32-true``, or ``bf16-mixed`` for a forward pass in bfloat16.
    """

    precision: Literal["32-true", "bf16-mixed"] = "32-true"


@dataclass(frozen=True, kw_only=True)
class Train:
    """Training from scratch.

    Attributes:
        log: which loggers get the numbers of every epoch: csv, tensorboard, wandb, mlflow, with commas.
        tensorboard: the same as tensorboard among ``log``.
    """

    training: Training = Training()
    validation: Validation = Validation()
    numerics: Numerics = Numerics()
    log: tuple[str, ...] = field(default=(), metadata=setting(flag="--log"))
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_loggers(self.log)


@dataclass(frozen=True, kw_only=True)
class Harden:
    """Hardening by a method, at a budget of epochs.

    Attributes:
        method: how the model is hardened.
        controls: run the controls at equal budget beside the method.
        suffix_from: for the method ``suffix``, a run folder whose network gives the suffix to start from.
        one_schedule: the method goes on in the base's schedule, from its last epoch (CLAT's 50 + 50 epochs).
        log: which loggers get the numbers of every epoch: csv, tensorboard, wandb, mlflow, with commas.
    """

    method: AbstractMethod = field(default=CriticalFineTuning(), metadata=setting(options="options"))
    training: Training = field(default=_TEN_EPOCHS, metadata=setting(without=_NO_OBJECTIVE))
    validation: Validation = Validation()
    numerics: Numerics = Numerics()
    controls: bool = False
    suffix_from: str = ""
    one_schedule: bool = False
    log: tuple[str, ...] = field(default=(), metadata=setting(flag="--log"))

    def __post_init__(self) -> None:
        check_loggers(self.log)


@dataclass(frozen=True, kw_only=True)
class Recover:
    """Algorithm 1 of the semirobustness paper at several cuts.

    Attributes:
        layers: sizes of the suffix, in layers from the output, such as 4,8,12; ``auto`` looks for the largest
            that recovers by bisection.
        protocol: which images decide: ``holdout`` uses held-out training images and touches the test images
            once at the end, ``paper`` selects and stops on the test images themselves.
        controls: train also everything from the robust network, and the suffix behind a normal prefix; all
            trials then train for all epochs.
        dependence: the measure of dependence whose rho_j is followed; empty for none.
        dependence_options: its options.
        sharpness_examples: adversarial examples for bound (a); 0 leaves the bounds out.
        judge_examples: held-out images besides those that choose epochs. A* is measured on these, and a trial
            is judged on them to have come back; 0 judges on the images that choose, which flatters.
        log: which loggers get the numbers of every epoch: csv, tensorboard, wandb, mlflow, with commas.
    """

    layers: Literal["auto"] | tuple[int, ...] = (4, 8, 12)
    recovery: Recovery = field(default=Recovery(trials=3), metadata=setting(without=_NO_OBJECTIVE))
    protocol: Literal["holdout", "paper"] = "holdout"
    controls: bool = False
    dependence: str = field(default="edge", metadata=setting(names=DEPENDENCES))
    dependence_options: Mapping[str, Any] = field(default_factory=dict)
    sharpness_examples: int = 256
    judge_examples: int = 0
    validation: Validation = Validation()
    numerics: Numerics = Numerics()
    log: tuple[str, ...] = field(default=(), metadata=setting(flag="--log"))

    def __post_init__(self) -> None:
        check_loggers(self.log)
        check_counts_given(0, sharpness_examples=self.sharpness_examples, judge_examples=self.judge_examples)
        if self.judge_examples and self.protocol == "paper":
            raise InputError(
                "judge_examples: expected 0 with protocol=paper, whose test images choose and judge; got"
                f" {self.judge_examples}"
            )
        if self.layers != "auto" and (not self.layers or min(self.layers) < 1):
            raise InputError(f"layers: expected auto, or numbers from 1 on; got {self.layers!r}")
        if self.validation.watch:
            raise InputError("watch: expected none, since rho_j is followed here; name it with dependence")


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Iterative pruning, the training of every level, and which level is kept.

    Attributes:
        controls: beside it also fresh weights at every level, and weights pruned at random.
        keep: which level becomes the run's network: the ``sparsest`` that is good enough, the ``most-robust``
            on held-out images, or the one of that number. Another one may be asked for later; no level then
            runs again.
        tolerance: accuracy on held-out images, clean and under attack, that the sparsest may lose against the
            whole network.
        macs: remove whole channels instead, until this fraction of the MACs is left, and train what remains;
            the settings of levels then say nothing, but for the saliency.
        log: which loggers get the numbers of every epoch: csv, tensorboard, wandb, mlflow, with commas.
    """

    lottery: Lottery = Lottery()
    channels: Channels = field(default=Channels(), metadata=setting(without=_OF_LEVELS))
    controls: bool = False
    keep: Literal["sparsest", "most-robust"] | int = "sparsest"
    tolerance: float = 0.01
    macs: float | None = None
    training: Training = Training(epochs=12)
    validation: Validation = Validation()
    numerics: Numerics = Numerics()
    log: tuple[str, ...] = field(default=(), metadata=setting(flag="--log"))

    def __post_init__(self) -> None:
        check_loggers(self.log)
        if isinstance(self.keep, int):
            check_counts_given(0, keep=self.keep)
        if not 0 <= self.tolerance <= 1:
            raise InputError(f"tolerance: expected a fraction from 0 to 1, got {self.tolerance}")
        if self.macs is not None and not 0 < self.macs < 1:
            raise InputError(f"macs: expected a fraction above 0 and below 1, got {self.macs}")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Measures by layer on test images.

    Attributes:
        measures: which, with commas.
        attack: what perturbs the images.
        examples: the number of test images.
    """

    measures: tuple[AbstractLayerMeasure, ...] = field(
        default=(Criticality(),), metadata=setting(options="options")
    )
    attack: AbstractAttack = field(metadata=setting(name="pgd-10"))
    examples: int = 512

    def __post_init__(self) -> None:
        check_counts_given(1, examples=self.examples)
        if not self.measures:
            raise InputError("measures: expected at least one, got none")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """How a model is evaluated.

    Attributes:
        attacks: which, with commas, such as fgsm,pgd-20x2 (20 steps, 2 restarts).
        each: run every attack on all images, and not only on those still correct under the cheaper ones.
        sweep: radii of a security curve under these attacks, such as 2/255,4/255,8/255.
        examples: the number of test images.
        pictures: how many adversarial examples to keep as pictures.
        checks: on how many images the sanity checks run at most; 0 for none. They take no more than a fifth
            of the passes of the evaluation.
        fast: what the attacks search: ``auto`` is a faster copy where it agrees with the model, ``graphs``
            the same with its launches on a CUDA device recorded, ``onnx`` the same with its passes without a
            gradient in ONNX Runtime on the CPU, ``off`` the model itself.
    """

    attacks: tuple[AbstractAttack, ...] = field(metadata=setting(name="fgsm,pgd-20x2"))
    each: bool = False
    sweep: tuple[float, ...] = ()
    examples: int = 1000
    pictures: int = 8
    checks: int = 100
    fast: Fast = "auto"

    def __post_init__(self) -> None:
        check_counts_given(1, examples=self.examples)
        check_counts_given(0, pictures=self.pictures, checks=self.checks)
        if not self.attacks:
            raise InputError("attacks: expected at least one, got none")
        if min(self.sweep, default=0.0) < 0:
            raise InputError(f"sweep: expected radii from 0 on, got {self.sweep}")
