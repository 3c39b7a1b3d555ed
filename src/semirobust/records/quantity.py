"""What a record can be about: the closed lists of quantities and of topics."""

from enum import StrEnum, auto

__all__ = ["Quantity", "Topic"]

_FREE = ""  # each record names its own unit


class Quantity(StrEnum):
    """Everything that a record of a number can hold, with its unit and its meaning.

    What a number was measured for (arm, layer, attack, epoch ...) is not part of the quantity: the record's
    :class:`~semirobust.records.about.About` says it.

    Attributes:
        unit: its unit; "1" for a fraction or a ratio, "" where each record names its own.
        meaning: one line.
    """

    unit: str
    meaning: str

    def __new__(cls, name: str, unit: str, meaning: str) -> "Quantity":
        """One member: its name in the files, its unit and its meaning."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.unit = unit
        member.meaning = meaning
        return member

    @property
    def is_accuracy(self) -> bool:
        """Whether it is a fraction of images, from 0 to 1, and no difference of two."""
        return self in _ACCURACIES

    # Accuracy on test images.
    ACCURACY = (
        "accuracy",
        "1",
        "fraction of images classified correctly, clean or under an attack",
    )
    UNDECIDED = "undecided", "1", "fraction of images about which an attack decides nothing"
    ACCURACY_BY_EPSILON = "accuracy_by_epsilon", "1", "robust accuracy at one radius of the ball"
    UNDECIDED_BY_EPSILON = (
        "undecided_by_epsilon",
        "1",
        "fraction of images about which the attacks decide nothing at one radius",
    )
    TRANSFER_ACCURACY = "transfer_accuracy", "1", "accuracy of `target` on examples made for `source`"
    UNDECIDED_TRANSFER = (
        "undecided_transfer",
        "1",
        "fraction of images for which nothing was made for `source` that could fool `target`",
    )
    ACCURACY_DIFFERENCE = (
        "accuracy_difference",
        "1",
        "accuracy of `arm` minus that of `other`",
    )

    # Training, epoch by epoch.
    TRAINING_LOSS = "training_loss", "nats", "mean loss of an epoch on the training images"
    LEARNING_RATE = "learning_rate", "1", "learning rate at the end of an epoch"
    EPOCH_SECONDS = "epoch_seconds", "s", "time that an epoch of training took"
    EPOCH_OPERATIONS = (
        "epoch_operations",
        "operations",
        "additions and multiplications of convolutions and matrix products in an epoch of training",
    )
    TRAINED_PARAMETERS = "trained_parameters", "parameters", "how many parameters trained in an epoch"
    TRAINED_LAYER = "trained_layer", "1", "1 for each layer that trained in an epoch, where not all did"
    MARKED_LAYER = (
        "marked_layer",
        "1",
        "1 for each layer that was singled out in an epoch: held, attacked or regularised while all train",
    )
    BEST_EPOCH = "best_epoch", "epochs", "the epoch whose weights were kept"

    # Validation on held-out images, epoch by epoch.
    VALIDATION_CLEAN = "validation_clean", "1", "clean accuracy on held-out images"
    VALIDATION_ROBUST = "validation_robust", "1", "accuracy on held-out images under the attack of validation"
    VALIDATION_LOSS = "validation_loss", "nats", "mean loss on adversarial held-out images"
    VALIDATION_MEASURE = "validation_measure", _FREE, "a measure by layer on held-out images"

    # Layers and features.
    MEASURE = "measure", _FREE, "a measure of one layer"
    FEATURE = "feature", _FREE, "a measure of one feature of a layer"
    FEATURE_MEAN = "feature_mean", _FREE, "mean of a measure over the features of a layer"
    FEATURE_POSITIVE = "feature_positive", "1", "fraction of the features whose measure is above 0"
    RANK_AGREEMENT = "rank_agreement", "1", "Spearman correlation of two rankings of the features"
    STABILITY = "stability", "1", "mean fraction of the top layers that a small batch finds too"
    STABILITY_SAME = "stability_same", "1", "fraction of small batches that find just the same top layers"
    STABILITY_CHANCE = "stability_chance", "1", "the fraction that random layers would share"
    STABILITY_SEEDS = (
        "stability_seeds",
        "1",
        "the fraction shared under other seeds of the attack",
    )

    # Size and cost.
    PARAMETERS = "parameters", "parameters", "how many parameters a network has"
    MACS = "macs", "MACs", "multiply-accumulate operations for one example"
    MEGABYTES = "megabytes", "MB", "memory of the weights and of the largest operation's input and output"
    INFERENCE_SECONDS = "inference_seconds", "s", "median time of one batch"
    INFERENCE_RATIO = (
        "inference_ratio",
        "1",
        "median time of a batch relative to the first network's",
    )
    INFERENCE_RATIO_MIN = "inference_ratio_min", "1", "the smallest of these ratios over all turns"
    INFERENCE_RATIO_MAX = "inference_ratio_max", "1", "the largest of these ratios over all turns"

    # Pruning.
    DENSITY = "density", "1", "fraction of the prunable weights that is left"
    WEIGHTS_LEFT = "weights_left", "weights", "how many of the prunable weights are left"
    PARAMETER_DENSITY = "parameter_density", "1", "fraction of one parameter's weights that is left"
    FEATURES_LEFT = "features_left", "features", "how many features the classifier still takes"

    # Recovery of a suffix behind a robust prefix.
    RECOVERY_REFERENCE = "recovery_reference", "1", "accuracy of the robust network on the images that decide"
    RECOVERY_START = "recovery_start", "1", "accuracy of the semirobust network there before any training"
    RECOVERY_BEST = "recovery_best", "1", "its best accuracy there over the epochs of a trial"
    RECOVERY_DIFFERENCE = "recovery_difference", "1", "best accuracy of any trial minus the reference"
    RECOVERY_EPOCH = "recovery_epoch", "epochs", "the epoch at which a trial came back to the reference"
    RECOVERY_EPOCHS = "recovery_epochs", "epochs", "mean of these epochs over the trials that came back"
    RECOVERED_TRIALS = "recovered_trials", "trials", "how many trials came back"
    RECOVERY_THRESHOLD = "recovery_threshold", "bits", "rho_j at the epoch that decides, by layer"
    ROBUST_PREFIX = "robust_prefix", "layers", "the smallest prefix behind which training came back"

    # Bounds on the difference between a network and the robust one.
    LOSS_DIFFERENCE = "loss_difference", "nats", "mean loss of the network minus that of the robust one"
    GRADIENT_TERM = "gradient_term", "nats", "the linear term g·d that the quadratic bound drops"
    SHARPNESS = "sharpness", "1", "largest eigenvalue of the Hessian in the parameters that differ"
    PARAMETER_DISTANCE = "parameter_distance", "1", "Euclidean distance of the parameters"
    QUADRATIC_BOUND = "quadratic_bound", "nats", "bound (a) on the difference of the losses"
    OUTPUT_DISTANCE = "output_distance", "1", "root mean squared distance of the logits"
    PEELING_BOUND = "peeling_bound", "1", "bound (b) on the distance of the logits"
    TELESCOPED_BOUND = "telescoped_bound", "1", "bound (b) without its assumption on the weights"
    BUFFERS_DIFFER = "buffers_differ", "1", "1 where batch statistics differ too, which neither bound covers"

    OTHER = "other", _FREE, "anything else, named by `about.measure`"


_ACCURACIES = frozenset(
    {
        Quantity.ACCURACY,
        Quantity.ACCURACY_BY_EPSILON,
        Quantity.TRANSFER_ACCURACY,
        Quantity.VALIDATION_CLEAN,
        Quantity.VALIDATION_ROBUST,
        Quantity.RECOVERY_REFERENCE,
        Quantity.RECOVERY_START,
        Quantity.RECOVERY_BEST,
    }
)


class Topic(StrEnum):
    """What a finding is about."""

    AUDIT = auto()
    """What an audit says, and what to do next."""
    CHECK = auto()
    """A sanity check of an evaluation; `about.check` names it."""
    DATA = auto()
    """What the reader must know of the data."""
    EMPTY = auto()
    """Pruning left nothing of a layer."""
    INFERENCE = auto()
    """How the logits of an evaluation were computed."""
    KEPT = auto()
    """Which level of pruning became the network of the run."""
    MEASURE = auto()
    """What the reader must know of the measure in `about`."""
    NOTE = auto()
    """Anything that a method has to say."""
    OTHER = auto()
    """Anything else."""
    REJECTED = auto()
    """Perturbations that failed the final check of an evaluation."""
    SKIPPED = auto()
    """An arm that could not run."""
    SMALLER = auto()
    """Whether pruned features could be taken out."""
    SMALLEST_PREFIX = "smallest prefix"
    """The answer of a recovery."""
    STOPPED = auto()
    """A training that stopped early."""
    VERDICT = auto()
    """Which of two arms is better."""
