"""Draw the page of claims from the records that come with the studies: ``python -m scripts.claims``."""

from pathlib import Path

from markupsafe import Markup

from semirobust.experiments.queue.archive import read_packed
from semirobust.experiments.queue.find import find_study
from semirobust.records.schema import Settings
from semirobust.reports import claims_table, decide, render, source_of

__all__ = ["PAGE", "drawn"]

_ROOT = Path(__file__).resolve().parents[1]
PAGE = _ROOT / "docs" / "explanation" / "claims.md"
_STUDIES = {"clat": "CLAT", "semirobustness": "Semirobust subnetworks", "lighter": "Lighter robust models"}
# What the lines of a study do not say.
_NOTES = {
    "clat": (
        "Arms go on from one network after robust overfitting, where nothing else is said (*late*).\n"
        "λ was tuned for CLAT on held-out images, and nothing was tuned for its rivals.\n"
    ),
    "semirobustness": "f* is the robust network, F the normal one.\n",
}
# Headings on the pages of tables, by network.
_ANCHORS = {
    "early": "early-before-robust-overfitting",
    "late": "late-after-robust-overfitting",
    "drawn-late": "drawn-late-after-robust-overfitting-each-seed-with-images-of-its-own",
    "capacity-mnist": "mnist-03",
    "features-standard": "what-is-a-single-feature-worth-figures-5-to-8",
    "lottery-standard": "standard-training",
    "lottery-fgsm": "fgsm-training",
    "lottery-pgd": "pgd-training",
    "layers": "which-layers-should-keep-their-weights",
    "resnet18-cifar10-drawn": "networks-of-which-every-seed-draws-its-images",
}


def drawn(scale: str = "cpu") -> str:
    """The page as it should be."""
    parts = []
    for name, title in _STUDIES.items():
        found = find_study(_ROOT / "papers" / name)
        runs = [run for run in read_packed(found) if run.scale == scale]
        fresh = {run.unit.partition("/")[0] for run in runs if _draws(run.records[0])}
        decided = decide(found.study.claims(), source_of(record for run in runs for record in run.records))
        verdicts = [one.verdict for one in decided]
        counts = {v: verdicts.count(v) for v in ("holds", "does not hold", "undecided", "not run")}
        page = f"reproduced/{name}-{scale}.md"
        parts.append(
            {
                "title": title,
                "paper": found.study.paper,
                "what": found.study.scales[scale],
                "page": page,
                "notes": Markup(_NOTES.get(name, "")),
                "summary": f"{name}.md",
                "counts": counts,
                "total": len(decided),
                "table": claims_table(
                    decided, lambda network, page=page: _link(page, network),
                    lambda network, fresh=fresh: "images too" if network in fresh else "",
                ),
            }
        )  # fmt: skip
    return render(Path(__file__).with_name("claims.md.j2"), parts=parts, scale=scale)


def _draws(record: object) -> bool:
    """Whether every seed of a run draws images of its own."""
    data = record.settings.get("data", {}) if isinstance(record, Settings) else {}
    return isinstance(data, dict) and bool(data.get("draw"))


def _link(page: str, network: str) -> str:
    anchor = _ANCHORS.get(network)
    return f"{page}#{anchor}" if anchor else page


if __name__ == "__main__":
    PAGE.write_text(drawn(), encoding="utf-8")
