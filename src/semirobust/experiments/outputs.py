"""Which output of a network stands for which class of the data."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from semirobust.core.errors import InputError
from semirobust.data.base.images import Images, Splits
from semirobust.experiments.class_names import IN_ORDER, names_of, plain_name, with_imagenet

__all__ = ["Naming", "check_same_outputs", "naming"]


class Naming:
    """How the labels of images become numbers of outputs.

    Attributes:
        names: a name for each output.
        outputs: for each class of the images the output that stands for it; None where that is its number.
        note: a sentence for the reader; empty for none.
        classes: those of the images, before.
        assumed: nothing said what the outputs are called.
    """

    def __init__(
        self,
        names: Sequence[str],
        outputs: Sequence[int] | None,
        note: str = "",
        *,
        classes: Sequence[str] = (),
        assumed: bool = False,
    ) -> None:
        self.names, self.outputs, self.note = tuple(names), outputs, note
        self.classes, self.assumed = tuple(classes), assumed

    @property
    def output_of(self) -> dict[str, int]:
        """Class of the images -> its output."""
        numbers = range(len(self.classes)) if self.outputs is None else self.outputs
        return dict(zip(self.classes, numbers, strict=True))

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
    model: str,
    outputs: int,
    names: Sequence[Sequence[str]],
    data: str,
    classes: Sequence[str],
    *,
    in_order: bool = False,
) -> Naming:
    """Match the classes of the data with the outputs of a network: by name where both have names, by number
    where the classes are called by numbers, by position where there are as many of both and the outputs have
    no names.

    A network of a thousand outputs has the names of ImageNet where its own agree with them, or where it has
    none and all classes of the data are ImageNet's.

    Args:
        model: what the network is called.
        outputs: how many it has.
        names: all names of the class of each output; empty where they are not known.
        data: what the data are called.
        classes: the names of their classes.
        in_order: the outputs are the classes in their order, whatever they are called.

    Raises:
        InputError: nothing says which output is which class, or names contradict positions.
    """
    if in_order:
        return _in_order(outputs, classes)
    if names and (len(names) != outputs or not all(names)):
        raise InputError(
            f"classes: expected names for the {outputs} outputs of {model}, got {len(names)} names"
        )
    more, guessed = with_imagenet(tuple(map(tuple, names)), outputs, classes)
    names = names or more
    shown = [each[1] if len(each) > 1 else each[0] for each in names] or [str(i) for i in range(outputs)]
    found = _by_name(classes, more)
    matched = [i for i in found if i is not None]
    if len(matched) == len(classes) == len(set(matched)):
        same = outputs == len(classes) and matched == list(range(outputs))
        known = ", in the order of ImageNet" if guessed else ""
        note = (
            f"the {len(classes)} classes of {data} are those of {model} by name, out of its {outputs}{known}"
        )
        return Naming(shown, None if same else matched, "" if same and not guessed else note, classes=classes)
    numbers = [int(name) if name.isdecimal() and str(int(name)) == name else outputs for name in classes]
    if max(numbers) < outputs:
        same = not names and numbers == list(range(outputs))
        return Naming(shown, None if same else numbers, classes=classes)
    if outputs == len(classes) and matched and all(i in (None, at) for at, i in enumerate(found)):
        lost = ", ".join(name for name, i in zip(classes, found, strict=True) if i is None)
        note = f"the outputs of {model} are the classes of {data} in their order, though not called {lost}"
        return Naming(shown, None, note, classes=classes)
    if names or outputs != len(classes):
        raise InputError(_mismatch(model, outputs, shown if names else [], data, classes, found))
    return Naming(classes, None, classes=classes, assumed=True)


def check_same_outputs(one: Naming, other: Naming, said: str, model: str, another: str) -> None:
    """Raise ``InputError`` where two networks number the same classes otherwise; ``said`` begins the
    sentence.
    """
    first, second = one.output_of, other.output_of
    for name in first:
        if first[name] != second.get(name, first[name]):
            raise InputError(
                f"{said}: expected networks whose outputs are the same classes, but {name!r} is output"
                f" {first[name]} of {model} and {second[name]} of {another}"
            )


def _in_order(outputs: int, classes: Sequence[str]) -> Naming:
    names = [each[0] for each in names_of(classes, outputs)]
    numbers = None if outputs == len(classes) else range(len(classes))
    note = f"the classes are taken for the first {len(classes)} of {outputs} outputs, as {IN_ORDER} says"
    return Naming(names, numbers, "" if numbers is None else note, classes=classes)


def _mismatch(
    model: str,
    outputs: int,
    shown: Sequence[str],
    data: str,
    classes: Sequence[str],
    found: Sequence[int | None],
) -> str:
    """Why classes and outputs cannot be matched, and what to do about it."""
    say = (
        f"say the names of its {outputs} outputs in their order with --classes (a file, or names with commas"
    )
    strange = next((name for name, output in zip(classes, found, strict=True) if output is None), classes[0])
    if outputs == len(classes):
        say += f"; {IN_ORDER} where they are the classes of the data in their order)"
        if any(i is not None for i in found):
            return (
                f"model: some classes of {data} are called as other outputs of {model} are, so that neither"
                f" order nor names can be followed ({strange!r} is none of its own); name the folders as its"
                f" classes are called, such as {shown[0]!r}, or {say}"
            )
        theirs, ours = (", ".join(each[:3]) + ", ..." * (outputs > 3) for each in (shown, classes))
        return (
            f"model: the outputs of {model} are called {theirs} and the classes of {data} {ours}, so that"
            f" nothing says which is which; name the folders as its classes are called, or {say}"
        )
    such = f", such as {shown[0]!r}," if shown else f", by number from 0 to {outputs - 1},"
    return (
        f"model: {model} has {outputs} outputs and {data} {len(classes)} classes ({strange!r} is one), and"
        f" nothing says which output is which class; name the classes as its outputs are{such} {say}), or"
        " train a network with these classes first (semirobust train)"
    )


def _by_name(classes: Sequence[str], names: Sequence[Sequence[str]]) -> list[int | None]:
    """For each class the one output of that name; None where there is none, or more than one."""
    known: dict[str, set[int]] = {}
    for output, own in enumerate(names):
        for name in own:
            known.setdefault(plain_name(name), set()).add(output)
    found = [known.get(plain_name(name), set()) for name in classes]
    return [next(iter(each)) if len(each) == 1 else None for each in found]
