"""What a method trains, and by which criterion it chose, in a cell of the page."""

from collections import Counter

from semirobust.methods import METHODS, LayerChoice
from semirobust.records import Quantity
from semirobust.reports import Source

__all__ = ["criterion_of", "trains"]

_SAME, _RANDOM = "PGD-AT as ", ", random layers"
_EVERYTHING = ("bitfit", "lora", "peft")  # choose layers only where they are told to
_TOLD = 6  # layers of a cell; of more, how many they are


def criterion_of(source: Source, arm: str) -> str:
    """The measure that chose its layers; a dash where none did, as its records say."""
    if arm.endswith(_RANDOM):
        return "random"
    choice = _choice(arm)
    chose = choice is not None and arm not in _EVERYTHING and _told_layers(source, arm)
    return str(choice.criterion) if choice is not None and chose else "–"


def _choice(arm: str) -> LayerChoice | None:
    """How a registered method chooses layers; None for an arm that is none, or does not."""
    name = arm.removeprefix(_SAME).removesuffix(_RANDOM)
    method = METHODS.make(name) if name in METHODS.names() else None
    found = getattr(method, "choice", None)
    return found if isinstance(found, LayerChoice) else None


def trains(source: Source, arm: str) -> str:
    """The layers that trained in most epochs of most seeds, and those that were singled out while all did."""
    if not source.of(Quantity.TRAINED_PARAMETERS, arm=arm):
        return "–"  # an epoch of the network that all start from
    trained, marked = (_often(source, arm, q) for q in (Quantity.TRAINED_LAYER, Quantity.MARKED_LAYER))
    choice, said = _choice(arm), _told(trained) if trained else "all"
    if choice is not None and choice.trains != "layer":
        said = f"{choice.trains} of {said}"
    if trained and _epochs(source, arm, Quantity.TRAINED_LAYER) < _epochs(
        source, arm, Quantity.TRAINED_PARAMETERS
    ):
        said = f"{said} in some epochs, else all"
    return said + (f", {_told(marked)} singled out" if marked else "")


def _told_layers(source: Source, arm: str) -> bool:
    return any(source.of(q, arm=arm) for q in (Quantity.TRAINED_LAYER, Quantity.MARKED_LAYER))


def _often(source: Source, arm: str, quantity: Quantity) -> list[int]:
    """As many layers as an epoch has on average, those of the most epochs and seeds first."""
    found = [n.about for n in source.of(quantity, arm=arm)]
    if not found:
        return []
    epochs = _epochs(source, arm, quantity)
    counts = Counter(about.layer or 0 for about in found)
    usual = sorted(counts, key=lambda layer: (-counts[layer], layer))
    return sorted(usual[: round(len(found) / epochs)])


def _epochs(source: Source, arm: str, quantity: Quantity) -> int:
    return len({(n.about.seed, n.about.epoch) for n in source.of(quantity, arm=arm)})


def _told(layers: list[int]) -> str:
    names = ", ".join(map(str, layers))
    return f"layer{'s' * (len(layers) > 1)} {names}" if len(layers) <= _TOLD else f"{len(layers)} layers"
