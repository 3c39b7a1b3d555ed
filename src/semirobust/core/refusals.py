"""Sentences that refuse a name, for whoever finds first that it is wrong."""

from collections.abc import Iterable, Sequence

from semirobust.core.nearest import meant

__all__ = ["no_weights", "unknown_member", "unknown_option", "unknown_section", "unknown_setting"]


def unknown_section(key: str, known: Sequence[str]) -> str:
    """No section of a recipe has that name."""
    return f"recipe: unknown option {key}; expected one of {', '.join(known)}{meant(key, known)}"


def unknown_setting(section: str, key: str, known: Sequence[str]) -> str:
    """No setting of a section has that name."""
    return f"recipe: unknown option {section}.{key}; expected one of {', '.join(known)}{meant(key, known)}"


def unknown_member(family: str, name: str, known: Sequence[str]) -> str:
    """No member of a family has that name."""
    return f"{family}: expected one of {', '.join(known)}; got {name!r}{meant(name, known)}"


def unknown_option(family: str, member: str, key: str, known: Iterable[str]) -> str:
    """No option of a member has that name."""
    names = list(known)
    listed = ", ".join(sorted(set(names))) or "none"
    return f"{family} {member!r}: unknown option {key!r}; it has {listed}{meant(key, names)}"


def no_weights(name: str, more: str) -> str:
    """A network was named that needs a file of weights, or that is no network."""
    return (
        f"checkpoint: expected the weights of {name} (--checkpoint FILE), or a run folder; got neither{more}"
    )
