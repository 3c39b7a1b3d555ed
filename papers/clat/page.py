"""The page of the CLAT paper: its tables with ours beside them."""

from collections.abc import Collection, Mapping
from pathlib import Path

from semirobust.records import Quantity
from semirobust.reports import Source, render

from .arms import (
    Pick,
    allocated,
    arms,
    attacks,
    compared,
    crossed,
    curve,
    pgd_of,
    sweep,
    versus,
)
from .criteria import agreement, choices, layer_gains
from .layers import drift, index, overfitting, readings, stability
from .networks import NETWORKS

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
# Networks whose index is taken in every reading: name, what it is, the paper's list.
_READINGS = {
    "densenet121": ("DenseNet-121", (39, 14, 1, 3, 88)),
    "resnet50": ("ResNet-50", (34, 41, 48, 3, 36)),
    "wrn_34_10": ("WRN-34-10", (26, 1, 30, 3, 28)),
    "vgg19": ("VGG-19", (9, 11, 5, 3, 1)),
    "preact_resnet18": ("PreAct ResNet-18", _LIST),
    "resnet18": ("ResNet-18", _LIST),
}
_WHAT = {
    "early": "before robust overfitting",
    "late": "after robust overfitting",
    "drawn-late": "after robust overfitting, each seed with images of its own",
}
_BASES = {
    "early": "PGD-AT, early",
    "late": "PGD-AT, late",
    "late-trades": "TRADES",
    "late-mart": "MART",
    "late-score": "SCORE",
    "late-awp": "AWP",
    "late-swa": "SWA-AT",
    "late-fast": "Fast-AT",
    "late-augmented": "PGD-AT, weak augmentation of IDBH",
    "late-standard": "standard training",
    "late-vgg19": "PGD-AT, VGG-19",
    "late-preact_resnet18": "PGD-AT, PreAct ResNet-18",
    "late-densenet121": "PGD-AT, DenseNet-121",
    "early-wrn_34_10": "PGD-AT, WRN-34-10",
    "early-cifar100": "PGD-AT, CIFAR-100",
    "drawn-late": "PGD-AT, images drawn",
    "drawn-late-trades": "TRADES, images drawn",
    "drawn-late-mart": "MART, images drawn",
    "drawn-late-score": "SCORE, images drawn",
    "drawn-late-awp": "AWP, images drawn",
    "drawn-late-swa": "SWA-AT, images drawn",
    "drawn-late-augmented": "PGD-AT, weak augmentation of IDBH, images drawn",
}
_HANDED_OVER = {f"drawn-hand-over-{epochs}": f"after epoch {epochs} of 45" for epochs in (15, 30, 40)}
_MAIN = {
    Pick("start"): "the base, last epoch",
    Pick("best"): "the base, best epoch",
    Pick("continued"): "PGD-AT continued",
    Pick("clat", "clat"): "CLAT, 1/N",
    Pick("PGD-AT as clat"): "– its layers, plain PGD-AT",
    Pick("clat-11"): "CLAT, layer 11 (the paper's)",
    Pick("PGD-AT as clat-11"): "– layer 11, plain PGD-AT",
    Pick("clat-rms"): "CLAT, 1/√N",
    Pick("PGD-AT as clat-rms"): "– its layers, plain PGD-AT",
}
_RIVALS = {
    Pick("continued"): "PGD-AT continued",
    Pick("clat", "clat"): "CLAT, 1/N",
    Pick("clat-11"): "CLAT, layer 11",
    Pick("rift"): "RiFT",
    Pick("lora"): "LoRA, rank 8",
    Pick("suffix"): "PGD-AT of the last 4 layers",
    Pick("wise"): "PGD-AT continued, interpolated with the start",
    Pick("trades continued"): "TRADES of all layers",
    Pick("autolora-authors"): "AutoLoRA, rank 8",
    Pick("twins-authors"): "TWINS",
    Pick("autolora"): "our earlier form of AutoLoRA, rank 8",
    Pick("twins"): "our earlier form of TWINS",
    Pick("clat", "autolora-clat"): "AutoLoRA, then CLAT as long again",
    Pick("clat", "twins-clat"): "TWINS, then CLAT as long again",
}
_AGAINST = {
    Pick("start"): "the base, last epoch",
    Pick("best"): "the base, best epoch",
    Pick("continued"): "PGD-AT continued",
    Pick("PGD-AT as clat"): "its layers, plain PGD-AT",
    Pick("clat-fixed"): "CLAT, chosen once",
    Pick("clat-random"): "CLAT, random layers",
    Pick("clat-smallest"): "CLAT, least critical layers",
    Pick("rift"): "RiFT",
    Pick("lora"): "LoRA",
    Pick("suffix"): "PGD-AT of the last 4 layers",
    Pick("autolora-authors"): "AutoLoRA",
    Pick("twins-authors"): "TWINS",
    Pick("autolora"): "our earlier form of AutoLoRA",
    Pick("twins"): "our earlier form of TWINS",
    Pick("wise"): "PGD-AT continued, interpolated",
    Pick("trades continued"): "TRADES of all layers",
}
_ABLATIONS = {
    Pick("clat", "clat"): "CLAT, 1/N, chosen again every few epochs",
    Pick("clat-fixed"): "chosen once",
    Pick("clat-random"): "random layers",
    Pick("clat-smallest"): "least critical layers",
    Pick("clat k=2"): "2 layers",
    Pick("clat k=3"): "3 layers",
    Pick("clat k=5"): "5 layers",
    Pick("clat k=9"): "9 layers",
    Pick("clat k=17"): "all layers but the classifier",
    Pick("clat-11"): "layer 11",
    Pick("clat-adversarial"): "layer 11, CE on adversarial images",
    Pick("clat-both"): "layer 11, CE on both",
    Pick("clat-fast"): "layer 11, one step (Fast)",
    Pick("clat, rate / 10"): "1/N, a tenth of the rate",
    Pick("continued, rate / 10"): "PGD-AT continued, a tenth of the rate",
}
_ATTACKED = {
    "start": "the base",
    "continued": "PGD-AT continued",
    "PGD-AT as clat": "its layers, PGD-AT",
    "clat-11": "CLAT, layer 11",
    "clat-fixed": "CLAT, chosen once",
    "autolora-authors": "AutoLoRA",
    "twins-authors": "TWINS",
    "trades continued": "TRADES of all layers",
    "clat": "CLAT, 1/N",
}
_EACH = {"each": "PGD-AT", "each-clat": "CLAT"}


def page(source: Source, scale: str, what: str) -> str:
    """Markdown from the records of a reproduction at one scale; sections without records are left out."""
    present = list(dict.fromkeys(n.about.network for n in source.numbers if n.about.network))
    most = max((n.n or 0 for n in source.of(Quantity.ACCURACY)), default=0)
    allocations = {
        name: network.changes["train.epochs"]
        for name, network in NETWORKS[scale].items()
        if "allocated" in network.groups and name in present
    }
    return render(
        Path(__file__).with_name("page.md.j2"),
        scale=scale,
        what=what,
        parts=[_part(source.only(network=name), name) for name in _WHAT if name in present],
        others=[
            _layers_of(source.only(network=name), name)
            for name in _BASES
            if name in present and name not in _WHAT
        ],
        compared=compared(source, _present(_BASES, present)),
        handed_over=compared(source, _present(_HANDED_OVER, present)),
        allocated=allocated(source, dict(sorted(allocations.items(), key=lambda item: item[1]))),
        crossed=crossed(source),
        readings=_readings(source),
        gains=layer_gains(source, pgd_of(source), _EACH, _BASES),
        choices=choices(source, pgd_of(source), "each", _BASES),
        choices_clat=choices(source, pgd_of(source), "each-clat", _BASES),
        agreement=agreement(source),
        paper=_PAPER,
        most=f"{most:,}",
    )


def _present(names: Mapping[str, str], present: Collection[str]) -> dict[str, str]:
    return {name: words for name, words in names.items() if name in present}


def _readings(source: Source) -> dict[str, object]:
    """The index in every reading; empty where none was taken."""
    both = {
        f"forms-{name}{end}": (f"{title}{word}", listed)
        for name, (title, listed) in _READINGS.items()
        for end, word in (("", ""), ("-untrained", ", untrained"))
    }
    present = {n.about.network for n in source.of(Quantity.MEASURE, unit="forms")}
    columns = {name: each for name, each in both.items() if name in present}
    if not columns:
        return {}
    networks = [
        {
            "title": title,
            "listed": ", ".join(map(str, listed)),
            "index": index(source.only(network=name), listed, "paper"),
        }
        for name, (title, listed) in columns.items()
    ]
    return {"all": readings(source, columns), "networks": networks}


def _part(source: Source, network: str) -> dict[str, object]:
    return {
        "network": network.capitalize().replace("-", ", "),
        "what": _WHAT[network],
        "overfitting": overfitting(source),
        "main": arms(source, _MAIN),
        "ablations": arms(source, _ABLATIONS),
        "versus": versus(source, Pick("clat", "clat"), _AGAINST),
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
