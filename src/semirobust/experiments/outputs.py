"""Which output of a network stands for which class of the data."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from semirobust.core.errors import InputError
from semirobust.data.base.images import Images, Splits

__all__ = ["Naming", "naming"]


class Naming:
    """How the labels of images become numbers of outputs.

    Attributes:
        names: a name for each output.
        outputs: for each class of the images the output that stands for it; None where that is its number.
        note: a sentence for the reader; empty for none.
    """

    def __init__(self, names: Sequence[str], outputs: Sequence[int] | None, note: str = "") -> None:
        self.names, self.outputs, self.note = tuple(names), outputs, note

    def on(self, splits: Splits) -> Splits:
        """The images with outputs as labels; unchanged where they have them already."""
        if self.outputs is None:
            return splits
        return replace(splits, train=self.of(splits.train), test=self.of(splits.test))

    def of(self, images: Images) -> Images:
        """As :meth:`on`, of images alone."""
        if self.outputs is None:
            return images
        return replace(images, y=torch.tensor(self.outputs)[images.y], classes=self.names)


def naming(
    model: str, outputs: int, names: Sequence[Sequence[str]], data: str, classes: Sequence[str]
) -> Naming:
    """Match the classes of the data with the outputs of a network: by name where both have names, by number
    where the classes are called by numbers, by position where there are as many of both.

    Args:
        model: what the network is called.
        outputs: how many it has, at least as many as there are classes.
        names: all names of the class of each output; empty where they are not known.
        data: what the data are called.
        classes: the names of their classes.

    Raises:
        InputError: the network has more outputs than the data has classes, and nothing says which are meant,
            or names contradict positions.
    """
    if names and (len(names) != outputs or not all(names)):
        raise InputError(f"model: expected names for the {outputs} outputs of {model}, got {len(names)}")
    shown = [each[1] if len(each) > 1 else each[0] for each in names] or [str(i) for i in range(outputs)]
    found = _by_name(classes, names)
    matched = [i for i in found if i is not None]
    if len(matched) == len(classes) == len(set(matched)):
        same = outputs == len(classes) and matched == list(range(outputs))
        note = f"the {len(classes)} classes of {data} are those of {model} by name, out of its {outputs}"
        return Naming(shown, None if same else matched, "" if same else note)
    if outputs == len(classes):
        if any(i not in (None, position) for position, i in enumerate(found)):
            raise InputError(
                f"model: some classes of {data} are called as other outputs of {model} are, so that neither"
                f" order nor names can be followed; name the folders as its classes are called, such as"
                f" {shown[0]!r}"
            )
        strange = bool(names) and not matched
        note = (
            f"the outputs of {model} are taken for the classes of {data} in their order, since no names agree"
        )
        return Naming(classes, None, note if strange else "")
    if all(name.isdecimal() and str(int(name)) == name and int(name) < outputs for name in classes):
        return Naming(shown, [int(name) for name in classes])
    such = f", such as {shown[0]!r}," if names else f", by number from 0 to {outputs - 1},"
    raise InputError(
        f"model: {model} has {outputs} outputs and {data} {len(classes)} classes ({classes[0]!r} is one), and"
        f" nothing says which output is which class; name the classes as its outputs are{such} or train a"
        " network with these classes first (semirobust train)"
    )


def _by_name(classes: Sequence[str], names: Sequence[Sequence[str]]) -> list[int | None]:
    """For each class the one output of that name; None where there is none, or more than one."""
    known: dict[str, set[int]] = {}
    for output, own in enumerate(names):
        for name in own:
            known.setdefault(_plain(name), set()).add(output)
    found = [known.get(_plain(name), set()) for name in classes]
    return [next(iter(each)) if len(each) == 1 else None for each in found]


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
