"""The sections of a recipe, each checked when it is read."""

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "DataSettings",
    "EvaluateSettings",
    "FitSettings",
    "HardenSettings",
    "ModelSettings",
    "ProfileSettings",
    "PruneSettings",
    "RecoverSettings",
    "Settings",
    "ThreatSettings",
    "TrainSettings",
    "parse_fraction",
]


def parse_fraction(value: object) -> object:
    """``"8/255"`` as a number; anything else as it is."""
    if isinstance(value, str):
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return value
    return value


Real = Annotated[float, BeforeValidator(parse_fraction)]
Positive = Annotated[Real, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
NoneOrMore = Annotated[int, Field(ge=0)]


class Settings(BaseModel):
    """What all sections share: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(Settings):
    """Which images.

    Attributes:
        source: a known data set, an .npz or a folder of pictures.
        root: where a known data set is looked for.
        image_size: side for pictures of a folder.
        classes: only images of these, by number and renumbered in this order; all where empty.
        train, test: how many images at most.
        validation: share (or number) of training images held out to choose the best epoch.
        extra: other training images to mix in, named like ``source``; of every batch they are ``extra_share``
            (0.7).
        split_seed: seed of that choice; that of the run where None. What goes on from a run keeps the run's.
    """

    source: str = "digits"
    root: str | None = None
    image_size: Count | None = None
    classes: tuple[NoneOrMore, ...] = ()
    train: Count | None = None
    test: Count | None = None
    validation: Annotated[Real, Field(ge=0)] = 0.1
    split_seed: int | None = None
    extra: str = ""
    extra_share: Annotated[Real, Field(ge=0, lt=1)] | None = None


class ModelSettings(Settings):
    """Which architecture.

    Attributes:
        name: a registered name; on the command line also package.module:factory.
        width: factor on the channel counts.
        options: what the architecture takes besides.
        mean, std: normalisation by channel; None for that of the training images.
    """

    name: str = "resnet18"
    width: Positive = 1.0
    options: dict[str, Any] = {}
    mean: tuple[Real, ...] | None = None
    std: tuple[Real, ...] | None = None


class ThreatSettings(Settings):
    """What to be robust against: the norm and its radius in pixel units ("8/255")."""

    norm: str = "linf"
    epsilon: Annotated[Real, Field(ge=0)] = 8 / 255


class FitSettings(Settings):
    """A course of training; names and defaults as in :class:`semirobust.training.training.Training`.

    Attributes:
        attack, attack_options: the inner maximisation.
        precision: 32-true, or bf16-mixed for a forward pass in bfloat16.
        validation_examples: how many held-out images are attacked after each epoch.
        judge: the attack of that validation; that of training where empty, which is too weak a judge if it
            has few steps.
        watch: measures by layer to follow on these images, epoch by epoch, such as ``criticality``.
        start: ``stored`` starts each attack where the last one on the same image ended; fewer steps then do.
            ``free`` takes the gradients that train the weights, with ``replays`` steps on each batch.
    """

    attack: str = "pgd-10"
    awp: Annotated[Real, Field(ge=0)] = 0.0
    awp_warm_up: NoneOrMore = 0
    average: Literal["none", "ema", "swa"] = "none"
    average_decay: Annotated[Real, Field(ge=0, lt=1)] = 0.999
    average_from: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    judge: str = ""
    start: Literal["random", "stored", "free"] = "random"
    replays: Count = 1
    attack_options: dict[str, Any] = {}
    fast: Literal["auto", "off"] = "auto"
    epochs: NoneOrMore = 30
    batch_size: Count = 128
    learning_rate: Positive = 0.1
    schedule: str = "cosine"
    momentum: Annotated[Real, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[Real, Field(ge=0)] = 5e-4
    nesterov: bool = False
    augment: str = "none"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    validation_examples: NoneOrMore = 500
    watch: tuple[str, ...] = ()


class TrainSettings(FitSettings):
    """A course of training from scratch.

    Attributes:
        objective, objective_options: the two losses.
        tensorboard: write a TensorBoard log.
    """

    objective: str = "adversarial"
    objective_options: dict[str, Any] = {}
    tensorboard: bool = False


class HardenSettings(FitSettings):
    """A course of hardening: a method with its options in place of an objective; ``controls`` run beside it.

    Attributes:
        suffix_from: for the method ``suffix``, a run folder whose network gives the suffix to start from.
    """

    method: str = "clat"
    options: dict[str, Any] = {}
    epochs: NoneOrMore = 10
    learning_rate: Positive = 0.01
    controls: bool = False
    suffix_from: str = ""


class RecoverSettings(FitSettings):
    """Algorithm 1; names as in :class:`semirobust.procedures.recovery.Recovery`, defaults those of the
    paper's text.

    Attributes:
        layers: sizes of the suffix, in layers from the output; ``auto`` looks for the largest that recovers
            by bisection.
        protocol: which images decide: ``holdout`` uses held-out training images and touches the test images
            once at the end, ``paper`` selects and stops on the test images themselves.
        method_options: of the method ``suffix``.
        stop: end a trial where it has recovered; with ``controls`` all train for all epochs.
        controls: train also everything from the robust network, and the suffix behind a normal prefix.
        dependence: the measure of dependence whose rho_j is followed, with its options in
            ``dependence_options``; "" for none.
        sharpness_examples: adversarial examples for bound (a); 0 leaves the bounds out.
    """

    layers: Literal["auto"] | Annotated[tuple[Count, ...], Field(min_length=1)] = (4, 8, 12)
    trials: Count = 3
    tolerance: Annotated[Real, Field(ge=0, le=1)] = 0.0
    stop: bool = True
    protocol: Literal["holdout", "paper"] = "holdout"
    method_options: dict[str, Any] = {}
    controls: bool = False
    dependence: str = "edge"
    dependence_options: dict[str, Any] = {}
    sharpness_examples: NoneOrMore = 256
    epochs: NoneOrMore = 10
    learning_rate: Positive = 0.001
    schedule: str = "constant"


class PruneSettings(FitSettings):
    """Iterative pruning; names as in :class:`semirobust.procedures.lottery.Lottery`, and the training of
    every level.

    Attributes:
        objective, objective_options: the two losses.
        saliency, saliency_options: what a weight is worth: magnitude, gradient, layered, random or
            usefulness.
        whole: train the whole network first; False prunes it as it comes.
        controls: beside it also fresh weights at every level, and weights pruned at random.
        keep: which level becomes the run's network: the ``sparsest`` that is good enough, the ``most-robust``
            on held-out images, or the one of that number. Another one may be asked for later; no level then
            runs again.
        tolerance: accuracy on held-out images, clean and under attack, that the sparsest may lose against the
            whole network.
        operations: remove whole channels instead, until this share of the multiplications is left, and train
            what remains; the settings from ``levels`` to ``tolerance`` then say nothing, but for the
            saliency.
        multiple: numbers of channels are then rounded to multiples of this.
    """

    objective: str = "adversarial"
    objective_options: dict[str, Any] = {}
    levels: NoneOrMore = 20
    fraction: Annotated[Real, Field(ge=0, lt=1)] = 0.3
    scope: Literal["global", "layer", "features"] = "global"
    saliency: str = "magnitude"
    saliency_options: dict[str, Any] = {}
    rewind: Literal["initial", "reinitialise", "none"] = "initial"
    rewind_epoch: NoneOrMore = 0
    classifier: bool = True
    whole: bool = True
    controls: bool = False
    keep: Literal["sparsest", "most-robust"] | NoneOrMore = "sparsest"
    tolerance: Annotated[Real, Field(ge=0, le=1)] = 0.01
    operations: Annotated[Real, Field(gt=0, lt=1)] | None = None
    multiple: Count = 1
    epochs: NoneOrMore = 12


class ProfileSettings(Settings):
    """Which measures by layer, on how many test images, under which attack."""

    measures: Annotated[tuple[str, ...], Field(min_length=1)] = ("criticality",)
    options: dict[str, dict[str, Any]] = {}
    attack: str = "pgd-10"
    examples: Count = 512


class EvaluateSettings(Settings):
    """How a model is evaluated.

    Attributes:
        attacks: by name.
        each: run every attack on all images, and not only on those that withstood the cheaper ones.
        sweep: radii of a security curve under these attacks.
        examples: how many test images.
        pictures: how many adversarial examples to keep.
        checks: on how many images the sanity checks run; 0 for none.
        fast: ``off`` searches with the model as it is, ``auto`` with a faster copy where it agrees.
    """

    attacks: Annotated[tuple[str, ...], Field(min_length=1)] = ("fgsm", "pgd-20x2")
    each: bool = False
    sweep: tuple[Annotated[Real, Field(ge=0)], ...] = ()
    examples: Count = 1000
    pictures: NoneOrMore = 8
    checks: NoneOrMore = 100
    fast: Literal["auto", "off"] = "auto"
