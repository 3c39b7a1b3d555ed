"""The tables and figures of the paper on lighter robust models, each with the runs that give it."""

from semirobust.experiments import Row

__all__ = ["rows"]


def rows() -> list[Row]:
    """In the order of the paper; both scales have runs of the same names."""
    capacity = {name: (f"capacity-mnist/{name}-*",) for name in ("standard", "fgsm", "pgd")}
    normal, robust = (
        tuple(f"lottery-{training}/{unit}" for unit in ("ticket", "fresh-weights"))
        for training in ("standard", "fgsm")
    )
    features = ("features-standard/features",)
    found = [
        ("table I", "six scales: filters, parameters", capacity["standard"]),
        ("table II", "PGD training under PGD", capacity["pgd"]),
        ("table III", "FGSM training under FGSM", capacity["fgsm"]),
        ("figure 2", "table III as a curve", capacity["fgsm"]),
        ("figure 3", "table II as a curve", capacity["pgd"]),
        ("figure 5", "usefulness of 100 features", features),
        ("figure 6", "actual usefulness", features),
        ("figure 7", "usefulness and actual usefulness", features),
        ("figure 8", "robust usefulness", features),
        ("figure 9", "tickets, standard training, clean", normal),
        ("figure 10", "tickets, standard training, under FGSM", normal),
        ("figure 11", "tickets, FGSM training, clean", robust),
        ("figure 12", "tickets, FGSM training, under FGSM", robust),
    ]
    return [Row(item, words, runs, (("as in the paper", runs, ""),)) for item, words, runs in found]
