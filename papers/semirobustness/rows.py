"""The tables and figures of the semirobustness paper, each with the runs that give it at either scale."""

from semirobust.experiments import Row

__all__ = ["rows"]

_NETWORKS = ("resnet18-cifar10", "resnet18-cifar100", "wrn34-10-cifar10", "wrn34-10-cifar100")


def rows() -> list[Row]:
    """In the order of the paper."""
    each = tuple(
        (name, (f"{name}/suffix-4", f"{name}/suffix-8", f"{name}/suffix-12"), "") for name in _NETWORKS
    )
    suffixes = ("resnet18-cifar10/suffix-*",)
    star = ("resnet18-cifar10/prefixes",)
    return [
        Row("table 1", "f*, before and after its suffix was trained, AutoAttack", ("*/autoattack",), each),
        Row("table 2", "linear read-outs of prefixes", star, (("ResNet-18, CIFAR-10", star, ""),)),
        Row("table 3", "the same as table 1, clean, under FGSM and PGD", suffixes, each),
        Row("figure 1", "ρ by size of the suffix and by attack", suffixes, each[:1]),
        Row("figure 2", "ρ by network and data, and over epochs", suffixes, each),
        Row("figure 3", "ρ of several networks of one kind", suffixes, (each[0], each[2])),
    ]
