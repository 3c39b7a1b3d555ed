"""Verdicts found by the attack that gave them."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from semirobust.attacks import AbstractAttack
from semirobust.core.text import printable

__all__ = ["ByAttack"]


class ByAttack(Mapping[str, Tensor]):
    """Verdicts by attack, in the order in which the attacks ran.

    A key is one of, in this order:

    1. the name under which the attack ran, such as ``pgd-20``;
    2. an attack that ran, which is found by equality;
    3. the family of an attack, in any case, such as ``PGD`` for ``pgd-20``, where one of that family ran.

    Args:
        verdicts: name -> (N,).
        attacks: name -> the attack.

    Raises:
        KeyError: no attack is meant by the key, or it is a family of which several ran.
    """

    def __init__(self, verdicts: Mapping[str, Tensor], attacks: Mapping[str, AbstractAttack]) -> None:
        self._verdicts, self._attacks = dict(verdicts), dict(attacks)

    @property
    def attacks(self) -> Mapping[str, AbstractAttack]:
        """Name -> the attack, in the order in which they ran."""
        return self._attacks

    def __getitem__(self, key: str | AbstractAttack) -> Tensor:
        if isinstance(key, str) and key in self._verdicts:
            return self._verdicts[key]
        if isinstance(key, AbstractAttack):
            # Of equal attacks that ran under several names the first counts.
            names = [name for name, attack in self._attacks.items() if attack == key][:1]
        else:
            names = [name for name in self._verdicts if _family(name) == str(key).lower()]
        if len(names) > 1:
            raise KeyError(f"{key!r} means {' and '.join(names)}; there are {', '.join(self)}")
        if not names:
            raise KeyError(f"{key!r}; there are {', '.join(self)}")
        return self._verdicts[names[0]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._verdicts)

    def __len__(self) -> int:
        return len(self._verdicts)

    def __repr__(self) -> str:
        counts = (f"{name} {int(found.sum())} of {len(found)}" for name, found in self._verdicts.items())
        return f"<{type(self).__name__}: {printable(', '.join(counts))}>"


def _family(name: str) -> str:
    return name.partition("-")[0].lower()
