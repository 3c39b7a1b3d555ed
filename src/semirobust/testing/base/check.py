"""Checks of the members of a family, collected from the file of that family."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from semirobust.core.errors import InputError
from semirobust.core.plugins import allow, is_reference
from semirobust.core.registry import Registry
from semirobust.experiments.families import FAMILIES

__all__ = [
    "FAMILIES_WITH_CHECKS",
    "Check",
    "Subject",
    "checks",
    "demanded",
    "refused",
    "require",
]

FAMILIES_WITH_CHECKS = (
    "attacks",
    "augmentations",
    "data",
    "dependences",
    "hooks",
    "measures",
    "methods",
    "models",
    "norms",
    "objectives",
    "saliencies",
    "selections",
)
"""The families whose members can be checked."""

_DEMANDS: dict[str, list[Callable[["Subject"], None]]] = {}


@dataclass(frozen=True)
class Subject:
    """A member that is checked.

    Attributes:
        family: such as ``attacks``.
        name: how it is called.
        options: its options in plain form, which :meth:`make` adds.
        registry: the family's, or one that holds this member alone.
    """

    family: str
    name: str
    options: Mapping[str, Any]
    registry: Registry[Any] = field(repr=False)

    def make(self, options: Mapping[str, Any] | None = None, **given: Any) -> Any:
        """An instance with ``options`` over those of the subject; ``given`` as in ``Registry.make``."""
        return self.registry.make(self.name, {**self.options, **(options or {})}, **given)


@dataclass(frozen=True)
class Check:
    """One demand on one member; call it.

    Attributes:
        subject: the member.
        demand: what it must do, in words.
        run: raises ``AssertionError`` with the reason where it does not.
    """

    subject: Subject
    demand: str
    run: Callable[[Subject], None] = field(repr=False)

    def __call__(self) -> None:
        self.run(self.subject)

    def __str__(self) -> str:
        return f"{self.subject.name}-{self.run.__name__.replace('_', '-')}"


def checks(
    family: str, member: str | Callable[..., Any], options: Mapping[str, Any] | None = None
) -> list[Check]:
    """All checks of a member.

    Args:
        family: such as ``"attacks"``, one of ``FAMILIES_WITH_CHECKS``.
        member: a registered name, ``"package.module:Class"``, or the class (of data and models the function).
        options: options that make it quick: a check calls it some dozens of times.

    Returns:
        the checks, each to be called.

    Raises:
        InputError: no such family or member.

    Example:
        >>> from semirobust.testing import checks
        >>> for check in checks("selections", "top"):
        ...     check()
    """
    if family not in FAMILIES_WITH_CHECKS:
        raise InputError(f"checks: expected one of {', '.join(FAMILIES_WITH_CHECKS)}; got {family!r}")
    importlib.import_module(f"semirobust.testing.{family}")
    registry = FAMILIES[family][1]
    if not isinstance(member, str):
        name = member.__name__
        registry = registry.alone(name, member)
    else:
        name = member
        if is_reference(name):  # it was named here, by the caller
            allow([name])
        registry.find(name)
    subject = Subject(family, name, dict(options or {}), registry)
    return [Check(subject, _brief(demand), demand) for demand in _DEMANDS[family]]


def demanded(family: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Decorator of a function whose docstring says what every member of ``family`` must do."""

    def add(demand: Callable[[Subject], None]) -> Callable[[Subject], None]:
        _DEMANDS.setdefault(family, []).append(demand)
        return demand

    return add


def require(holds: object, sentence: str) -> None:
    """Raise ``AssertionError`` with a sentence unless something holds."""
    if not bool(holds):
        raise AssertionError(sentence)


def refused(call: Callable[[], object], what: str) -> None:
    """``call`` must raise ``InputError`` with one line; ``what`` says what is wrong with its input."""
    try:
        call()
    except InputError as error:
        require("\n" not in str(error), f"{what} is refused in several lines: {error}")
    else:
        raise AssertionError(f"{what} is taken, and should raise semirobust.InputError")


def _brief(demand: Callable[[Subject], None]) -> str:
    return (inspect.getdoc(demand) or "").split("\n\n")[0].replace("\n", " ").rstrip(".")
