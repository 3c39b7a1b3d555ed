"""The page of the CLAT paper: its tables with ours beside them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from jinja2 import Environment, PackageLoader, StrictUndefined
from scipy.stats import spearmanr

from semirobust.records.record import Number
from semirobust.reports.reproductions.table import Seeds, by_seed, cells, paired, percent, plain, points, table
from semirobust.reports.source import Source

__all__ = ["page"]

# Table 20: clean, PGD-10, AutoAttack.
_PAPER = {"adversarial": (81.46, 53.63, 40.48), "clat": (83.89, 55.37, 42.86), "smallest": (82.56, 54.01, 40.91)}
_LIST = (11, 10, 4, 2, 12)
_WHAT = {"early": "before robust overfitting", "late": "after robust overfitting"}
_MAIN = {
    "start": "the base, last epoch",
    "best": "the base, best epoch",
    "continued": "PGD-AT continued",
    "clat": "CLAT, 1/N, λ 0.3",
    "PGD-AT as clat": "– its layers, plain PGD-AT",
    "clat-rms": "CLAT, 1/√N, λ 0.3",
    "PGD-AT as clat-rms": "– its layers, plain PGD-AT",
    "clat-11": "CLAT, layer 11 (the paper's), λ 0.3",
    "PGD-AT as clat-11": "– layer 11, plain PGD-AT",
    "free 1.0@lambda-free-11": "CLAT, layer 11, λ 1",
    "free 1.0@lambda-free-11-strong": "CLAT, layer 11, λ 1",
    "free 3.0@lambda-free-11": "CLAT, layer 11, λ 3",
    "free 3.0@lambda-free-11-strong": "CLAT, layer 11, λ 3",
    "free 3.0@lambda-free-17": "CLAT, layer 17, λ 3",
}
_ABLATIONS = {
    "clat": "chosen by 1/N, again every few epochs",
    "clat-fixed": "chosen once",
    "clat-random": "random layers",
    "clat-smallest": "least critical layers",
    "clat-11": "layer 11",
    "clat-adversarial": "layer 11, CE on adversarial images",
    "clat-both": "layer 11, CE on both",
    "clat-fast": "layer 11, one step (Fast)",
}
_RIVALS = {
    "continued": "PGD-AT continued",
    "clat-11": "CLAT, layer 11",
    "rift": "RiFT",
    "lora": "LoRA, rank 8",
    "suffix": "PGD-AT of the last 4 layers",
    "twins": "TWINS",
    "autolora": "AutoLoRA, rank 8",
}
_COLLAPSED = 0.8


def page(source: Source, scale: str, what: str) -> str:
    """Markdown from the records of a reproduction at one scale; what is not there yet shows as a dash."""
    environment = Environment(loader=PackageLoader("semirobust.reports"), undefined=StrictUndefined, trim_blocks=True)
    networks = [name for name in _WHAT if any(n.labels.get("network") == name for n in source.numbers)]
    parts = [
        _part(replace(source, numbers=[n for n in source.numbers if n.labels.get("network") == name]), name) for name in networks
    ]
    examples = next((f"{n.n:,}" for n in source.named("accuracy")), "–")
    template = environment.get_template("clat.md.j2")
    return template.render(scale=scale, what=what, parts=parts, paper=_PAPER, examples=examples).rstrip() + "\n"


def _part(source: Source, network: str) -> dict[str, object]:
    return {
        "network": network.capitalize(),
        "what": _WHAT[network],
        "overfitting": _overfitting(source),
        "main": _arms(source, _MAIN),
        "ablations": _arms(source, _ABLATIONS) if cells(source, "accuracy", arm="clat-random") else "",
        "rivals": _arms(source, _RIVALS) if cells(source, "accuracy", arm="rift") else "",
        "sweep": _sweep(source),
        "index": _index(source),
        "stability": _stability(source),
        "drift": _drift(source),
    }


def _pgd(source: Source) -> str:
    names = (str(n.labels["attack"]) for n in source.named("accuracy"))
    return next((name for name in names if name.startswith("pgd")), "pgd-20")


def _accuracy(source: Source, arm: str, attack: str) -> Seeds:
    """Of an arm, which may be named with its unit: ``arm@unit``."""
    return cells(source, "accuracy", attack=attack, **_labels(arm))


def _labels(arm: str) -> dict[str, str]:
    name, _, unit = arm.partition("@")
    return {"arm": name, "unit": unit} if unit else {"arm": name}


def _of(number: Number, arm: str) -> bool:
    return all(number.labels.get(key) == value for key, value in _labels(arm).items())


def _overfitting(source: Source) -> str:
    """How far the base's robust accuracy fell behind its best epoch, on held-out images."""
    falls, epochs = dict[int, float](), dict[int, float]()
    for seed in _seeds(source):
        course = _course(source, "validation.robust", seed)
        if course:
            best = max(course, key=lambda epoch: course[epoch])
            falls[seed], epochs[seed] = course[max(course)] - course[best], float(best)
    if not falls:
        return "–"
    last = max(int(n.labels["epoch"]) for n in source.named("validation.robust") if n.labels["unit"] == "base")
    ends = {seed: _course(source, "train.loss", seed)[last] for seed in falls}
    return (
        f"On held-out images the base's accuracy under attack after its last epoch, {last}, is {points(Seeds(falls))} points "
        f"from its best one, which is epoch {plain(Seeds(epochs), 0)}; its loss on the training images ends at "
        f"{plain(Seeds(ends))} nats."
    )


def _seeds(source: Source) -> list[int]:
    return sorted({int(n.labels["seed"]) for n in source.numbers})


def _course(source: Source, name: str, seed: int) -> dict[int, float]:
    """A number of the base by epoch."""
    found = (n for n in source.named(name) if n.labels["unit"] == "base" and int(n.labels["seed"]) == seed)
    return {int(n.labels["epoch"]): n.value for n in found}


def _arms(source: Source, names: dict[str, str]) -> str:
    pgd, rows = _pgd(source), []
    start, continued = (_accuracy(source, arm, pgd) for arm in ("start", "continued"))
    for arm, name in names.items():
        found, clean = _accuracy(source, arm, pgd), _accuracy(source, arm, "clean")
        if not found:
            continue
        gains = [points(paired(found, other)) if arm not in ("start", "best") else "" for other in (start, continued)]
        gains = [gains[0], "" if arm == "continued" else gains[1]]
        trains = (_layers(source, arm), _trained(source, arm))
        rows.append((name, len(found.values), percent(clean), percent(found), *gains, *trains))
    head = ("arm", "seeds", "clean", pgd, "less start", "less PGD-AT continued", "layers", "parameters")
    return table(head, rows)


def _trained(source: Source, arm: str) -> str:
    found = [n.value for n in source.named("train.parameters") if _of(n, arm)]
    return f"{sum(found) / len(found):,.0f}" if found else ""


def _layers(source: Source, arm: str) -> str:
    """The layers that trained in most epochs, seed by seed."""
    found = [n for n in source.named("train.layer") if _of(n, arm)]
    chosen = []
    for seed in sorted({int(n.labels["seed"]) for n in found}):
        counts = Counter(int(n.labels["layer"]) for n in found if int(n.labels["seed"]) == seed)
        most = max(counts.values())
        own = [str(layer) for layer, count in sorted(counts.items()) if count == most]
        chosen.append("+".join(own) if len(own) <= 6 else f"{len(own)} layers")
    return ", ".join(chosen) if chosen else "all"


def _sweep(source: Source) -> str:
    pgd, rows = _pgd(source), []
    start, clean = _accuracy(source, "start", pgd), _accuracy(source, "start", "clean")
    found = [n for n in source.named("accuracy") if str(n.labels["unit"]).startswith("lambda-")]
    weights = sorted({float(str(n.labels["arm"]).split()[1]) for n in found})
    groups = {tuple(str(n.labels["unit"]).split("-")[1:3]) for n in found}
    for form, layer in sorted(groups, key=lambda group: (group[0], int(group[1]))):
        own = [n for n in found if str(n.labels["unit"]).split("-")[1:3] == [form, layer]]
        row: list[object] = [{"free": "scale-free", "paper": "paper"}[form], layer]
        for weight in weights:
            arm = f"{form} {weight}"
            robust, plainly = (
                by_seed(n for n in own if n.labels["arm"] == arm and n.labels["attack"] == attack) for attack in (pgd, "clean")
            )
            if not robust:
                row.append("")
                continue
            fell = sum(robust.values[s] < _COLLAPSED * start.values[s] for s in robust.values.keys() & start.values.keys())
            text = " / ".join(points(gain) for gain in (paired(plainly, clean), paired(robust, start)) if gain)
            row.append(f"{text} [{fell} of {len(robust.values)}]" if fell else text)
        rows.append(row)
    return table(("form", "layer", *(f"λ {w:g}" for w in weights)), rows)


def _index(source: Source) -> str:
    found, rows = source.named("layer.criticality"), []
    kinds = dict.fromkeys((str(n.labels["form"]), str(n.labels["scale"]), str(n.labels["at"])) for n in found)
    names = {"paper": "1/N", "rms": "1/√N", "relative": "relative"}
    for form, scale, at in kinds:
        own = [n for n in found if (n.labels["form"], n.labels["scale"], n.labels["at"]) == (form, scale, at)]
        tops, hits = [], dict[int, float]()
        for seed in _seeds(source):
            top = _top([n for n in own if int(n.labels["seed"]) == seed])
            if top:
                tops.append(", ".join(map(str, top)))
                hits[seed] = float(len(set(top) & set(_LIST)))
        scaled = "1/N" if (form, scale) == ("curvature", "rms") else names[scale]
        if (form, scale) != ("curvature", "rms"):  # the same as 1/N there
            candidates = sorted({int(n.labels["layer"]) for n in own})[:-1]
            chance = 5 * len(set(candidates) & set(_LIST)) / len(candidates)
            rows.append((form, scaled, at, "; ".join(tops), plain(Seeds(hits), 1), f"{chance:.1f}"))
    return table(("form", "scale", "taken at", "five highest, seed by seed", "of the paper's five", "by chance"), rows)


def _top(numbers: Iterable[Number], k: int = 5) -> list[int]:
    numbers = list(numbers)
    last = max((int(n.labels["layer"]) for n in numbers), default=0)
    ranked = sorted((n for n in numbers if int(n.labels["layer"]) != last), key=lambda n: -n.value)
    return [int(n.labels["layer"]) for n in ranked[:k]]


def _stability(source: Source) -> str:
    found, rows = source.named("stability.agreement"), []
    sizes = sorted({int(n.labels["size"]) for n in found})
    for scale, k in dict.fromkeys((str(n.labels["scale"]), int(n.labels["k"])) for n in found):
        agreement = [percent(cells(source, "stability.agreement", scale=scale, k=k, size=size), 0) for size in sizes]
        ends = [percent(cells(source, f"stability.{name}", scale=scale, k=k), 0) for name in ("seeds", "chance")]
        rows.append(({"paper": "1/N", "rms": "1/√N"}[scale], k, *agreement, *ends))
    return table(("scale", "k", *(f"{size} images, %" for size in sizes), "all, other attack seeds, %", "by chance, %"), rows)


def _drift(source: Source) -> str:
    found = [n for n in source.named("validation.criticality") if n.labels["unit"] == "base"]
    epochs = sorted({int(n.labels["epoch"]) for n in found})
    shown = sorted({epochs[round(share * (len(epochs) - 1))] for share in (0, 0.1, 0.25, 0.5, 0.75, 1)}) if epochs else []
    rows = []
    for seed in _seeds(source):
        own = {epoch: _by_layer(found, seed, epoch) for epoch in shown}
        last = own[shown[-1]] if shown else {}
        row: list[object] = [seed]
        for epoch in shown:
            values = own[epoch]
            if not values or values.keys() != last.keys():
                row.append("–")
                continue
            first = max((layer for layer in values if layer != max(values)), key=lambda layer: values[layer])
            rank = float(spearmanr([values[i] for i in last], list(last.values())).statistic)
            row.append(f"{first} ({rank:+.2f})")
        rows.append(row)
    return table(("seed", *(f"epoch {epoch}" for epoch in shown)), rows)


def _by_layer(numbers: Iterable[Number], seed: int, epoch: int) -> dict[int, float]:
    own = (n for n in numbers if int(n.labels["seed"]) == seed and int(n.labels["epoch"]) == epoch)
    return {int(n.labels["layer"]): n.value for n in own}
