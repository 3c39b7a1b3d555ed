"""The page of the CLAT paper: its tables with ours beside them."""

from pathlib import Path

from semirobust.reports import Source, render

from .arms import (
    allocated,
    arms,
    attacks,
    compared,
    crossed,
    curve,
    of_network,
    pgd_of,
    sweep,
    versus,
)
from .criteria import agreement, choices, layer_gains
from .layers import drift, index, overfitting, stability

__all__ = ["page"]

# Table 20: clean, PGD-10, AutoAttack.
_PAPER = {
    "adversarial": (81.46, 53.63, 40.48),
    "clat": (83.89, 55.37, 42.86),
    "smallest": (82.56, 54.01, 40.91),
}
_LISTS = {
    "late-vgg19": (9, 11, 5, 3, 1),
    "late-densenet121": (39, 14, 1, 3, 88),
}  # table 8; all others are ResNet-18
_LIST = (11, 10, 4, 2, 12)
_WHAT = {"early": "before robust overfitting", "late": "after robust overfitting"}
_BASES = {
    "early": "PGD-AT, early",
    "late": "PGD-AT, late",
    "late-trades": "TRADES",
    "late-mart": "MART",
    "late-score": "SCORE",
    "late-awp": "AWP",
    "late-swa": "SWA-AT",
    "late-fast": "Fast-AT",
    "late-augmented": "PGD-AT, strong augmentation",
    "late-standard": "standard training",
    "late-vgg19": "PGD-AT, VGG-19",
    "late-preact_resnet18": "PGD-AT, PreAct ResNet-18",
    "late-densenet121": "PGD-AT, DenseNet-121",
    "early-wrn_34_10": "PGD-AT, WRN-34-10",
    "early-cifar100": "PGD-AT, CIFAR-100",
}
_MAIN = {
    "start": "the base, last epoch",
    "best": "the base, best epoch",
    "continued": "PGD-AT continued",
    "clat@clat": "CLAT, 1/N",
    "PGD-AT as clat": "– its layers, plain PGD-AT",
    "clat-11": "CLAT, layer 11 (the paper's)",
    "PGD-AT as clat-11": "– layer 11, plain PGD-AT",
    "clat-rms": "CLAT, 1/√N",
    "PGD-AT as clat-rms": "– its layers, plain PGD-AT",
}
_RIVALS = {
    "continued": "PGD-AT continued",
    "clat@clat": "CLAT, 1/N",
    "clat-11": "CLAT, layer 11",
    "rift": "RiFT",
    "lora": "LoRA, rank 8",
    "suffix": "PGD-AT of the last 4 layers",
    "wise": "PGD-AT continued, interpolated with the start",
    "twins": "TWINS",
    "autolora": "AutoLoRA, rank 8",
    "clat@autolora-clat": "AutoLoRA, then CLAT as long again",
}
_AGAINST = {
    "start": "the base, last epoch",
    "best": "the base, best epoch",
    "continued": "PGD-AT continued",
    "PGD-AT as clat": "its layers, plain PGD-AT",
    "clat-fixed": "CLAT, chosen once",
    "clat-random": "CLAT, random layers",
    "clat-smallest": "CLAT, least critical layers",
    "rift": "RiFT",
    "lora": "LoRA",
    "suffix": "PGD-AT of the last 4 layers",
    "twins": "TWINS",
    "autolora": "AutoLoRA",
    "wise": "PGD-AT continued, interpolated",
}
_ABLATIONS = {
    "clat@clat": "CLAT, 1/N, chosen again every few epochs",
    "clat-fixed": "chosen once",
    "clat-random": "random layers",
    "clat-smallest": "least critical layers",
    "clat k=2": "2 layers",
    "clat k=3": "3 layers",
    "clat k=5": "5 layers",
    "clat k=9": "9 layers",
    "clat-11": "layer 11",
    "clat-adversarial": "layer 11, CE on adversarial images",
    "clat-both": "layer 11, CE on both",
    "clat-fast": "layer 11, one step (Fast)",
    "clat, rate / 10": "1/N, a tenth of the rate",
    "continued, rate / 10": "PGD-AT continued, a tenth of the rate",
}
_ATTACKED = {
    "start": "the base",
    "continued": "PGD-AT continued",
    "PGD-AT as clat": "its layers, PGD-AT",
    "clat-11": "CLAT, layer 11",
    "clat": "CLAT, 1/N",
}
_EACH = {"each": "PGD-AT", "each-clat": "CLAT"}


def page(source: Source, scale: str, what: str) -> str:
    """Markdown from the records of a reproduction at one scale; sections without records are left out."""
    present = list(dict.fromkeys(str(n.labels["network"]) for n in source.numbers if "network" in n.labels))
    examples = next((f"{n.n:,}" for n in source.named("accuracy")), "–")
    allocations = {name: name.rpartition("-")[2] for name in present if name.startswith("late-after-")}
    return render(
        Path(__file__).with_name("page.md.j2"),
        scale=scale,
        what=what,
        parts=[_part(of_network(source, name), name) for name in _WHAT if name in present],
        others=[
            _layers_of(of_network(source, name), name)
            for name in _BASES
            if name in present and name not in _WHAT
        ],
        compared=compared(source, {name: words for name, words in _BASES.items() if name in present}),
        allocated=allocated(source, dict(sorted(allocations.items(), key=lambda item: int(item[1])))),
        crossed=crossed(source),
        gains=layer_gains(source, pgd_of(source), _EACH, _BASES),
        choices=choices(source, pgd_of(source), "each", _BASES),
        choices_clat=choices(source, pgd_of(source), "each-clat", _BASES),
        agreement=agreement(source),
        paper=_PAPER,
        examples=examples,
    )


def _part(source: Source, network: str) -> dict[str, object]:
    return {
        "network": network.capitalize(),
        "what": _WHAT[network],
        "overfitting": overfitting(source),
        "main": arms(source, _MAIN),
        "ablations": arms(source, _ABLATIONS),
        "versus": versus(source, "clat@clat", _AGAINST),
        "rivals": arms(source, _RIVALS, cost=True),
        "sweep": sweep(source),
        "attacks": attacks(source, _ATTACKED),
        "curve": curve(source, _ATTACKED),
        **_layers_of(source, network),
        "stability": stability(source),
        "drift": drift(source),
    }


def _layers_of(source: Source, network: str) -> dict[str, object]:
    listed = _LISTS.get(network, _LIST)
    whose = ", of its ResNet-18" if network == "late-preact_resnet18" else ""
    return {
        "name": _BASES[network],
        "listed": ", ".join(map(str, listed)),
        "whose": whose,
        "index": index(source, listed),
    }
