"""The page of the semirobustness paper: its tables with ours beside them."""

import math
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from scipy.stats import spearmanr

from semirobust.records.record import Number
from semirobust.reports.reproductions.table import Seeds, by_seed, cells, paired, percent, plain, points, table
from semirobust.reports.source import Source

__all__ = ["page"]

# Tables 1 and 3: A*, A before training, A after it, in per cent; ResNet-18 on CIFAR-10, by attack and size of the suffix.
_PAPER = {
    ("autoattack", 4): (39.45, 32.12, 39.57), ("autoattack", 12): (39.45, 16.6, 40.13),
    ("clean", 4): (69.7, 67.7, 71.4), ("clean", 12): (69.7, 62.5, 66.3),
    ("fgsm", 4): (43.1, 34.4, 41.3), ("fgsm", 12): (43.1, 22.5, 38.1),
    ("pgd-20", 4): (38.5, 29.8, 36.5), ("pgd-20", 12): (38.5, 16.9, 33.7),
}  # fmt: skip
# Table 1: rho of the last pair of layers and of every fourth before it, in bits, by size of the suffix.
_RHO = {4: {0: 3.31, 3: 6.16}, 12: {0: 3.19, 3: 5.46, 7: 7.41, 11: 7.80}}
# Table 2: accuracy of the network, of the read-out and of random weights under PGD, in per cent, by prefix.
_READOUT = {17: (38.63, 40.41, 8.91), 13: (38.63, 40.13, 10.1), 9: (38.63, 39.47, 6.82)}
_NAMES = {"autoattack": "AutoAttack", "pgd-20": "PGD-20 (paper: PGD-10)", "fgsm": "FGSM", "clean": "none"}
_DECIDED = 12  # the suffix at which variants are compared


def page(source: Source, scale: str, what: str) -> str:
    """The whole page in Markdown."""
    environment = Environment(loader=PackageLoader("semirobust.reports"), undefined=StrictUndefined, trim_blocks=True)
    rho, null = (_mean(source.named(f"validation.rho{name}")) for name in ("", ".null"))
    text = environment.get_template("semirobustness.md.j2").render(
        scale=scale,
        what=what,
        recovery=_recovery(source),
        controls=_controls(source),
        frontier=_frontier(source),
        thresholds=_thresholds(source),
        null=null,
        excess=rho - null,
        predictors=_predictors(source),
        readouts=_readouts(source),
        layers=_depth(source),
        prefixes=_prefixes(source),
        bounds=_bounds(source),
        variants=_variants(source),
    )
    return text.rstrip() + "\n"


def _sizes(source: Source) -> list[int]:
    return sorted({int(n.labels["suffix"]) for n in source.named("recover.difference")})


def _depth(source: Source) -> int:
    return max((int(n.labels["layer"]) for n in source.named("recover.threshold")), default=0)


def _accuracy(source: Source, arm: str, attack: str, size: int | None = None, unit: str | None = None) -> Seeds:
    """Of f* and the controls without a size; of a suffix, before (``start``) or after training, with one."""
    if size is None:
        unit = unit or {"robust": "autoattack" if attack == "autoattack" else "references"}.get(arm, "controls")
        return cells(source, "accuracy", arm=arm, attack=attack, unit=unit)
    own = "autoattack" if attack == "autoattack" else unit or f"suffix-{size}"
    return cells(source, "accuracy", arm=arm, attack=attack, suffix=size, unit=own)


def _gap(source: Source, size: int) -> Seeds:
    """Accuracy under PGD-20 after training less that of f*."""
    return paired(_accuracy(source, "suffix", "pgd-20", size), _accuracy(source, "robust", "pgd-20"))


def _recovery(source: Source) -> str:
    rows = []
    for attack, name in _NAMES.items():
        star = _accuracy(source, "robust", attack)
        for size in _sizes(source):
            start, end = (_accuracy(source, arm, attack, size) for arm in ("start", "suffix"))
            if not end:
                continue
            back = cells(source, "recover.epochs", suffix=size, unit=f"suffix-{size}")
            paper = _PAPER.get((attack, size))
            theirs = "–" if paper is None else f"{paper[0]} → {paper[1]} → {paper[2]} ({paper[2] - paper[0]:+.2f})"
            came = f"{len(back.values)} of {len(end.values)}" if attack == "pgd-20" else ""
            found = (percent(star), percent(start), percent(end), points(paired(end, star)))
            rows.append((name, size, *found, came, theirs))
    head = ("attack", "suffix", "f*", "before", "after", "difference", "seeds that came back", "paper: f* → before → after")
    return table(head, rows)


def _controls(source: Source) -> str:
    star = _accuracy(source, "robust", "pgd-20")
    seeds = _accuracy(source, "everything", "pgd-20").values.keys()
    behind = _accuracy(source, "suffix", "pgd-20", _DECIDED)
    arms = {
        f"suffix of {_DECIDED} behind the robust prefix": Seeds({s: v for s, v in behind.values.items() if s in seeds}),
        f"suffix of {_DECIDED} behind the normal prefix": _accuracy(source, f"normal prefix, suffix {_DECIDED}", "pgd-20"),
        "everything, from f*": _accuracy(source, "everything", "pgd-20"),
    }
    rows = [(name, percent(found), points(paired(found, star))) for name, found in arms.items() if found]
    return table(("what trains", "accuracy", "less f*"), rows)


def _frontier(source: Source) -> str:
    rows = []
    everything = _parameters(source, "normal")
    for size in _sizes(source):
        gap = _gap(source, size)
        low = gap.interval[0] if gap else -math.inf
        share = f"{100 * _parameters(source, f'suffix-{size}') / everything:.0f} %" if everything else "–"
        lost = f"{-100 * low:.1f}" if math.isfinite(low) else "–"
        rows.append((_depth(source) - size, size, share, points(gap), lost))
    head = ("robust prefix, layers", "suffix", "parameters that train", "PGD-20 less f*", "points lost at most (95 %)")
    return table(head, rows)


def _parameters(source: Source, unit: str) -> float:
    return next((n.value for n in source.named("train.parameters") if n.labels["unit"] == unit), 0.0)


def _thresholds(source: Source) -> str:
    rows = []
    for size in _sizes(source):
        found = [n for n in source.named("recover.threshold") if n.labels["unit"] == f"suffix-{size}"]
        layers = sorted({int(n.labels["layer"]) for n in found}, reverse=True)
        for position in sorted({0, 3, 7, 11, size - 1} & set(range(len(layers)))):
            layer = layers[position]
            rho = by_seed(n for n in found if int(n.labels["layer"]) == layer)
            start, end = (_rho(source, size, layer, last=last) for last in (False, True))
            theirs = _RHO.get(size, {}).get(position, "–")
            rows.append((size, layer, plain(rho), plain(start), plain(end), plain(paired(end, start)), theirs))
    head = ("suffix", "layer j", "ρ_j, bits", "before training", "after the last epoch", "change", "paper's ρ_j")
    return table(head, rows)


def _rho(source: Source, size: int, layer: int, *, last: bool) -> Seeds:
    labels = {"unit": f"suffix-{size}", "layer": layer, "arm": "suffix"}
    found = [n for n in source.named("validation.rho") if all(n.labels.get(k) == v for k, v in labels.items())]
    wanted = max((int(n.labels["epoch"]) for n in found), default=0) if last else 0
    return by_seed(n for n in found if int(n.labels["epoch"]) == wanted)


def _predictors(source: Source) -> str:
    numbers = [n for n in source.named("layer.connectivity") if n.labels["unit"] == "dependences"]
    names = list(dict.fromkeys(str(n.labels["by"]) for n in numbers))
    rows = [(name, *_correlations(source, [n for n in numbers if n.labels["by"] == name])) for name in names]
    head = ("measure", "before training, across the cut", "before, mean of the suffix", "its change in training")
    return table(head, rows)


def _correlations(source: Source, numbers: Sequence[Number]) -> list[str]:
    gaps, cut, start, change = [], list[float](), list[float](), list[float]()
    for size in _sizes(source):
        first = _depth(source) - size + 1
        here = [n for n in numbers if int(n.labels["suffix"]) == size and int(n.labels["layer"]) >= first]
        for seed, gap in _gap(source, size).values.items():
            own = [n for n in here if int(n.labels["seed"]) == seed]
            before, after = ([n for n in own if n.labels["arm"] == when] for when in ("start", "end"))
            across = [n.value for n in before if int(n.labels["layer"]) == first]
            if across and after:
                gaps.append(gap)
                cut.append(across[0])
                start.append(_mean(before))
                change.append(_mean(after) - _mean(before))
    return [_spearman(values, gaps) for values in (cut, start, change)]


def _mean(numbers: Sequence[Number]) -> float:
    return sum(n.value for n in numbers) / len(numbers) if numbers else 0.0


def _spearman(values: Sequence[float], gaps: Sequence[float]) -> str:
    if len(values) < 4:
        return "–"
    found = spearmanr(values, gaps)
    return f"{found.statistic:+.2f} (p {found.pvalue:.2f}, n {len(values)})"


def _readouts(source: Source) -> str:
    rows = []
    forms = (".network", ".paper", "", ".attacked", ".random")
    for layer in sorted({int(n.labels["layer"]) for n in source.named("layer.readout")}, reverse=True):
        found = [percent(cells(source, f"layer.readout{form}", arm="robust", layer=layer)) for form in forms]
        rows.append((layer, *found, " / ".join(map(str, _READOUT[layer])) if layer in _READOUT else "–"))
    ours = ("f* itself", "paper's form, in sample", "ridge, on the other half", "ridge, attacked itself", "random weights")
    return table(("prefix", *ours, "paper: f* / read-out / random"), rows)


def _prefixes(source: Source) -> str:
    rows = []
    kinds = [(arm, kind) for arm in ("robust", "normal") for kind in ("", ".clean")]
    for layer in sorted({int(n.labels["layer"]) for n in source.named("layer.semirobustness")}):
        rows.append((layer, *(plain(cells(source, f"layer.semirobustness{k}", arm=a, layer=layer), 3) for a, k in kinds)))
    return table(("prefix", "f*: γ", "f*: margin when clean", "F: γ", "F: margin when clean"), rows)


def _bounds(source: Source) -> str:
    rows = []
    for size in _sizes(source):
        for when, name in (("start", "before"), ("end", "after")):
            labels = {"suffix": size, "when": when, "unit": f"suffix-{size}"}
            loss, slope, quadratic, output, peeling = (
                cells(source, f"bound.{kind}", **labels) for kind in ("loss", "slope", "quadratic", "output", "peeling")
            )
            if loss:
                numbers = (plain(loss), plain(slope), plain(quadratic, 0), plain(output))
                rows.append((size, name, *numbers, f"{peeling.mean:.0e}"))
    head = ("suffix", "training", "loss less f*'s, nats", "linear term", "bound (a)", "distance of logits", "bound (b)")
    return table(head, rows)


def _variants(source: Source) -> str:
    names = {"": "plain", "-hsic": "+ HSIC between consecutive layers",
             "-stored": "4 attack steps from stored perturbations, for 10"}  # fmt: skip
    rows = []
    for ending, name in names.items():
        unit = f"suffix-{_DECIDED}{ending}"
        found, clean = (_accuracy(source, "suffix", attack, _DECIDED, unit) for attack in ("pgd-20", "clean"))
        precise, plain_ = (
            cells(source, "accuracy", arm=arm, attack="pgd-20", unit="precise") for arm in (unit, f"suffix-{_DECIDED}")
        )
        gain = paired(found, _accuracy(source, "suffix", "pgd-20", _DECIDED)) if ending else Seeds({})
        if found:
            rows.append(
                (name, len(found.values), percent(clean), percent(found), points(gain), points(paired(precise, plain_), 2))
            )
    head = ("training of the suffix", "seeds", "clean", "PGD-20", "less plain", "less plain, on 5,000 images")
    return table(head, rows)
