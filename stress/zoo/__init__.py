"""Networks of many makers, for ``python -m stress.networks``: one file per source."""

from importlib import import_module

from stress.zoo.network import Network

__all__ = ["SOURCES", "all_networks", "find", "preload"]

SOURCES = {
    "made": ("made_layers", "made_forms"),
    "torchvision": ("torchvision_models",),
    "timm": ("timm_models",),
    "transformers": ("transformers_models",),
    "robustbench": ("robustbench_models",),
}
"""What a name begins with, and the files that have such networks."""


def all_networks() -> list[Network]:
    """Every network, without building any."""
    files = [file for files in SOURCES.values() for file in files]
    return [network for file in files for network in import_module(f"stress.zoo.{file}").networks()]


def find(name: str) -> Network:
    """The network of that name."""
    return next(network for network in all_networks() if network.name == name)


def preload(names: list[str]) -> None:
    """Import the packages whose networks are among these, once, before processes are forked."""
    for source in {name.partition("/")[0] for name in names}:
        if source in ("torchvision", "timm", "transformers"):
            import_module(source)
