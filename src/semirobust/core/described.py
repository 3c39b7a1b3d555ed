"""A pickle as a description of what it would build: nothing in it is imported, called or built.

Python's own unpickler calls whatever a file names. This one has no way to: a name stays a name, and a call
stays a record of its arguments.
"""

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from semirobust.core.budget import BUDGET, most_instructions
from semirobust.core.errors import InputError

__all__ = ["Called", "Name", "Spent", "describe"]

# What would be called in these can be meant to do harm alone.
_HARMFUL = {
    *("os", "posix", "nt", "sys", "subprocess", "runpy", "importlib", "pty", "socket", "shutil", "ctypes"),
    *("commands", "webbrowser", "code", "pdb", "bdb", "timeit", "marshal", "asyncio", "multiprocessing"),
}
_HARMFUL_NAMES = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("eval", "exec", "execfile", "compile", "__import__", "open")
)


_ORDERED = "collections.OrderedDict"


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function that a pickle names, such as ``argparse.Namespace``."""

    name: str


@dataclass(eq=False)
class Called:
    """What the call of a class or function would have given.

    Attributes:
        name: of the class or function.
        arguments: of the call.
        state: what the object would have been given after it.
        items: what would have been appended to it.
        entries: what would have been set in it, by key.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Spent:
    """What descriptions have cost so far, over all pickles of a file.

    Attributes:
        size: of the file, in bytes.
        calls: what they called, in order.
        plain: whether they changed nothing but lists and dictionaries, as pickles of weights do.
    """

    size: int = 0
    calls: list[Called] = field(default_factory=list)
    plain: bool = True

    def __post_init__(self) -> None:
        self.left = most_instructions(self.size)
        self.copies = self.left + 2 * self.size

    def spend(self, *, copied: int = 0) -> None:
        """Count one instruction, and the values or characters that it copies.

        Raises:
            InputError: there are more than in any checkpoint.
        """
        self.left -= 1
        self.copies -= copied
        if self.left < 0 or self.copies < 0:
            raise InputError("a pickle of more instructions than any checkpoint has; it was not read")


def describe(file: IO[bytes], spent: Spent | None = None) -> Any:
    """The object in the pickle that ``file`` stands at: containers, numbers and text as they are, all else as
    :class:`Name` and :class:`Called`. The file stands behind the pickle afterwards.

    A reference to something outside of the pickle becomes ``Called("persistent", (reference,))``.

    Raises:
        InputError: the pickle would run commands, or has more instructions than any checkpoint.
        ValueError, IndexError, KeyError, TypeError, AttributeError: it is damaged.
    """
    return _Machine(spent or Spent()).run(file)


class _Machine:
    """The stack and the memory of a pickle (protocols 0 to 5)."""

    def __init__(self, spent: Spent) -> None:
        self.spent = spent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: IO[bytes]) -> Any:
        for operation, argument, _ in pickletools.genops(file):
            self.spent.spend()
            name = operation.name
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _STEPS:
                _STEPS[name](self, argument)
            elif name == "STOP":
                return self.stack.pop()
            elif name not in ("PROTO", "FRAME"):
                raise ValueError(f"instruction {name}")
        raise ValueError("no end")

    def since_mark(self) -> list[Any]:
        found, self.stack = self.stack, self.marks.pop()
        return found

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def collect(self, kind: Callable[[list[Any]], Any]) -> None:
        found = self.since_mark()
        self.stack.append(kind(found))

    def last(self, count: int) -> None:
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        self.spent.plain &= isinstance(target, list)
        (target.items if isinstance(target, Called) else target).extend(values)

    def set(self, values: list[Any]) -> None:
        target = self.stack[-1]
        self.spent.plain &= isinstance(target, dict) or target.name == _ORDERED
        (target.entries if isinstance(target, Called) else target).update(self.pairs(values))

    def pairs(self, values: list[Any]) -> list[tuple[Any, Any]]:
        found = list(_pairs(values))
        self.spent.plain &= 2 * len(found) == len(values)
        return found

    def add(self, values: list[Any]) -> None:
        self.spent.plain = False  # a set hashes what it is given
        self.append(values)

    def call(self, arguments: Any, function: Any) -> None:
        for argument in arguments if isinstance(arguments, tuple) else ():
            if isinstance(argument, list | str | tuple):  # which the call may copy, each time
                self.spent.spend(copied=len(argument))
        found = _called(function, arguments)
        if isinstance(found, Called):
            self.spent.calls.append(found)
        elif isinstance(found, bytes):
            self.spent.plain = False
        self.stack.append(found)

    def call_new(self, _keywords: Any, arguments: Any, function: Any) -> None:
        self.call(arguments, function)

    def call_marked(self, function: Any = None) -> None:
        function, *arguments = self.since_mark() if function is None else [function, *self.since_mark()]
        self.call(tuple(arguments), function)

    def build(self, state: Any) -> None:
        target = self.stack[-1]
        self.spent.plain &= isinstance(target, Called) and target.name == _ORDERED
        self.spent.spend(copied=len(state) if isinstance(state, dict) else 0)
        if isinstance(target, Called):
            target.state = state

    def refer(self, reference: Any) -> None:
        found = _outside(reference)
        if isinstance(found, Called):
            self.spent.calls.append(found)
        self.stack.append(found)

    def name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if len(module) + len(name) > BUDGET.pickle_name:
            raise InputError("a pickle with names of absurd length; it was not read")
        self.stack.append(Name(f"{module}.{name}"))

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


def _pairs(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys and values in turn, without keys that are no plain value, since hashing them could do harm."""
    for key, value in zip(values[::2], values[1::2], strict=True):
        if key is None or isinstance(key, str | bytes | int | float):
            yield key, value


def _called(function: Any, arguments: Any) -> Any:
    name = function.name if isinstance(function, Name) else ""
    if not isinstance(arguments, tuple):
        raise ValueError("arguments")
    if name.partition(".")[0] in _HARMFUL or name in _HARMFUL_NAMES:
        raise InputError(
            f"expected a state dict of plain tensors, got a pickle that asks to call {name[:100]}, as no"
            " checkpoint does; nothing was run"
        )
    match name, arguments:
        case (("copyreg._reconstructor" | "copy_reg._reconstructor"), (Name() as kind, *_)):
            return Called(kind.name)
        case "_codecs.encode", (str() as text, "latin1" | "latin-1"):
            return text.encode("latin1")
        case "torch.Size", ((list() | tuple()) as sizes,):
            return tuple(sizes)
        case _ if (
            name == _ORDERED and arguments and isinstance(given := arguments[0], list)
        ):  # as Python 2 wrote it
            pairs = [pair for pair in given if isinstance(pair, list | tuple) and len(pair) == 2]
            return Called(name, entries=dict(_pairs([part for pair in pairs for part in pair])))
        case _:
            return Called(name or "something without a name", arguments)


def _outside(reference: Any) -> Any:
    """What a reference to something outside of the pickle stands for."""
    match reference:
        case ("module", Name() as kind, *_):  # before PyTorch 1.6 classes had their source with them
            return kind
        case _:
            return Called("persistent", (reference,))


def _name(text: str) -> Name:
    module, _, name = text.partition(" ")
    return Name(f"{module}.{name}")


_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.stack.pop() if m.stack else m.since_mark(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "LIST": lambda m, _: m.collect(list),
    "TUPLE": lambda m, _: m.collect(tuple),
    "FROZENSET": lambda m, _: m.collect(list),
    "DICT": lambda m, _: m.collect(lambda values: dict(m.pairs(values))),
    "TUPLE1": lambda m, _: m.last(1),
    "TUPLE2": lambda m, _: m.last(2),
    "TUPLE3": lambda m, _: m.last(3),
    "APPEND": lambda m, _: m.append([m.stack.pop()]),
    "APPENDS": lambda m, _: m.append(m.since_mark()),
    "ADDITEMS": lambda m, _: m.add(m.since_mark()),
    "SETITEM": lambda m, _: m.set([m.stack.pop(), m.stack.pop()][::-1]),
    "SETITEMS": lambda m, _: m.set(m.since_mark()),
    "GLOBAL": lambda m, text: m.stack.append(_name(text)),
    "STACK_GLOBAL": lambda m, _: m.name(),
    "REDUCE": lambda m, _: m.call(m.stack.pop(), m.stack.pop()),
    "NEWOBJ": lambda m, _: m.call(m.stack.pop(), m.stack.pop()),
    "NEWOBJ_EX": lambda m, _: m.call_new(m.stack.pop(), m.stack.pop(), m.stack.pop()),
    "INST": lambda m, text: m.call_marked(_name(text)),
    "OBJ": lambda m, _: m.call_marked(),
    "BUILD": lambda m, _: m.build(m.stack.pop()),
    "BINPERSID": lambda m, _: m.refer(m.stack.pop()),
    "PERSID": lambda m, text: m.refer(text),
    "PUT": lambda m, index: m.put(index),
    "BINPUT": lambda m, index: m.put(index),
    "LONG_BINPUT": lambda m, index: m.put(index),
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "GET": lambda m, index: m.stack.append(m.memo[index]),
    "BINGET": lambda m, index: m.stack.append(m.memo[index]),
    "LONG_BINGET": lambda m, index: m.stack.append(m.memo[index]),
}
