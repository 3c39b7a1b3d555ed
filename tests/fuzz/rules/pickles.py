"""Checkpoints and CIFAR batches whose pickle is made to do harm."""

import io
import pickle
import random
import struct
import zipfile
from pathlib import Path

import torch

from tests.fuzz.grammar import rule

_ZIP, _OLD, _CIFAR = "pt", "pt, old", "cifar pickle"


def _text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


def zipped(data: bytes, *, packed: bool = False, **more: bytes) -> bytes:
    """A file as torch.save writes it, with this pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        for name, content in more.items():
            archive.writestr(f"archive/data/{name.removeprefix('_')}", content)
    return file.getvalue()


def tensor(
    count: int,
    *,
    size: tuple[int, ...] = (1,),
    stride: tuple[int, ...] = (1,),
    offset: int = 0,
    key: str = "0",
) -> bytes:
    """The instructions of a tensor of a storage of so many floats."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(pickle.dumps(v, 2)[2:-1] for v in values) + b"t"

    storage = b"(" + _text(b"storage") + b"ctorch\nFloatStorage\n" + _text(key.encode()) + _text(b"cpu")
    storage += pickle.dumps(count, 2)[2:-1] + b"tQ"
    arguments = storage + pickle.dumps(offset, 2)[2:-1] + numbers(size) + numbers(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89ccollections\nOrderedDict\n)RtR"


def _state(*entries: tuple[bytes, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(_text(name) + value for name, value in entries) + b"u."


def _laughs(size: int) -> bytes:
    """A tuple of two tuples of two tuples ..., which takes a line a level and doubles with each."""
    return b"K\x01" + b"\x85" + b"".join(b"2\x86" for _ in range(size))


_BODIES = {
    "many values": lambda n: b"(" + b"N" * n + b"l",
    "many lists": lambda n: b"]" * n,
    "copies of the top": lambda n: b"]" + b"2" * n,
    "places in the memo": lambda n: b"]" + b"\x94" * n,
    "tuples in tuples": lambda n: b")" + b"\x85" * n,
    "lists in lists": lambda n: b"]" * n + b"a" * (n - 1),
    "long whole number": lambda n: b"\x8b" + struct.pack("<I", n) + b"\x7f" * n,
    "digits": lambda n: b"L" + b"7" * n + b"L\n",
    "marks": lambda n: b"(" * n + b"t" * n,
    "long name": lambda n: b"c" + b"a" * n + b"\nb\n",
    "one text as many bytes": lambda n: (
        b"c_codecs\nencode\nq\x00"
        + _text(b"a" * min(n, 4 << 20))
        + _text(b"latin1")
        + b"\x86q\x01"
        + b"h\x00h\x01R0" * min(n, 200_000)
    ),
    "one list as many sizes": lambda n: (
        b"ctorch\nSize\nq\x00]("
        + b"K\x01" * min(n, 300_000)
        + b"e\x85q\x01"
        + b"h\x00h\x01R0" * min(n, 100_000)
    ),
    "one state for many": lambda n: (
        b"ccollections\nOrderedDict\n)R"
        + b"}("
        + b"".join(b"M" + struct.pack("<H", i % 65536) + b"N" for i in range(min(n, 60_000)))
        + b"uq\x00b"
        + b"h\x00b" * min(n, 200_000)
    ),
    "zeros of any number": lambda n: (
        b"c__builtin__\nbytearray\n" + pickle.dumps(n * 10**6, 2)[2:-1] + b"\x85R"
    ),
    "a tensor of any size": lambda n: b"ctorch\nTensor\n" + pickle.dumps(n * 10**6, 2)[2:-1] + b"\x85R",
    "names made of texts": lambda n: (
        _text(b"a" * min(n, 4 << 20))
        + b"q\x00"
        + _text(b"b")
        + b"q\x01"
        + b"h\x00h\x01\x930" * min(n, 100_000)
    ),
    "an array of any size": lambda n: (
        b"cnumpy\nndarray\n(" + pickle.dumps(n * 10**6, 2)[2:-1] + b"tX\x02\x00\x00\x00u1\x86R"
    ),
    "sets of tuples": lambda n: b"\x8f(" + _laughs(min(n, 60)) + b"\x90",
    "laughs as a value": lambda n: _laughs(min(n, 60)),
    "place far away": lambda n: b"]r" + struct.pack("<I", min(n * 1000, 2**32 - 1)),
    "frame": lambda n: b"\x95" + struct.pack("<Q", n * 10**9) + b"N",
    "quadratic encoding": lambda n: (
        b"c_codecs\nencode\n" + _text(b"\xc3\xa4" * n) + _text(b"punycode") + b"\x86R"
    ),
}


def _register(name: str) -> None:
    body = _BODIES[name]

    def in_zip(folder: Path, size: int, chance: random.Random) -> bytes:
        inside = _state((b"a", body(size)), (b"weight", tensor(1)))
        return zipped(inside, packed=chance.random() < 0.5, _0=bytes(4))

    def in_old(folder: Path, size: int, chance: random.Random) -> bytes:
        head = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
        return head + _state((b"a", body(size))) + pickle.dumps([], 2)

    def plain(folder: Path, size: int, chance: random.Random) -> bytes:
        return _state((b"a", body(size)))

    def in_cifar(folder: Path, size: int, chance: random.Random) -> bytes:
        return _state((b"data", body(size)), (b"labels", b"](K\x00e"))

    for reader, make in ((_ZIP, in_zip), (_OLD, in_old), (_OLD, plain), (_CIFAR, in_cifar)):
        make.__name__ = f"{name}{' by itself' if make is plain else ''}"
        rule(reader, 3_000_000)(make)


for _name in _BODIES:
    _register(_name)


@rule(_ZIP, 60)
def _laughs_as_a_key(folder: Path, size: int, chance: random.Random) -> bytes:
    return zipped(b"\x80\x02}" + _laughs(size) + b"Ns.")


@rule(_ZIP, 60)
def _laughs_as_a_storage(folder: Path, size: int, chance: random.Random) -> bytes:
    return zipped(b"\x80\x02}" + _text(b"a") + _laughs(size) + b"Qs.")


@rule(_ZIP, 1 << 30)
def _packed_instructions(folder: Path, size: int, chance: random.Random) -> None:
    with (
        zipfile.ZipFile(folder / "m.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as file,
    ):
        file.write(b"\x80\x02(")
        for _ in range(min(size >> 20, 256) + 1):
            file.write(chance.choice((b"N", b"]", b"(", b"2")) * min(size, 1 << 20))
        file.write(b"l.")


@rule(_ZIP, 10**15)
def _one_value_for_many(folder: Path, size: int, chance: random.Random) -> bytes:
    name = chance.choice((b"1.weight", b"x.weight_v", b"1.bias"))
    return zipped(_state((name, tensor(1, size=(size,), stride=(0,)))), _0=bytes(4))


@rule(_ZIP, 200_000)
def _many_views_of_one(folder: Path, size: int, chance: random.Random) -> bytes:
    one = tensor(4096, size=(4096,)) + b"q\x05"
    names = b"".join(_text(b"a%d" % i) + b"h\x05" for i in range(size))
    return zipped(b"\x80\x02}(" + _text(b"a") + one + names + b"u.", _0=bytes(16384))


@rule(_ZIP, 10**18)
def _more_than_the_storage(folder: Path, size: int, chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:
        return zipped(_state((b"1.bias", tensor(size, size=(3,)))), _0=bytes(4))
    if kind == 1:
        return zipped(_state((b"1.bias", tensor(1, size=(size % 10**10,)))), _0=bytes(4))
    if kind == 2:
        return zipped(_state((b"1.bias", tensor(1, size=(3,), offset=size))), _0=bytes(4))
    return zipped(_state((b"1.bias", tensor(1, size=(3,), stride=(size,)))), _0=bytes(4))


@rule(_OLD, 10**15)
def _storage_beyond_the_file(folder: Path, size: int, chance: random.Random) -> bytes:
    head = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    count = struct.pack("<Q", size)
    return head + _state((b"1.bias", tensor(size, size=(3,)))) + pickle.dumps(["0"], 2) + count + bytes(12)


def _named(folder: Path, names: list[str], *, old: bool) -> None:
    one = torch.zeros(1)
    file = "m.pth" if old else "m.pt"
    torch.save(dict.fromkeys(names, one), folder / file, _use_new_zipfile_serialization=not old)


@rule(_ZIP, 300_000)
def _dots_in_a_name(folder: Path, size: int, chance: random.Random) -> None:
    _named(folder, [chance.choice((".", "a.", "1.", "module.")) * size + "weight"], old=False)


@rule(_OLD, 300_000)
def _dots_in_an_old_name(folder: Path, size: int, chance: random.Random) -> None:
    _named(folder, ["a." * size + "weight"], old=True)


@rule(_ZIP, 4_000_000)
def _long_names(folder: Path, size: int, chance: random.Random) -> None:
    _named(folder, [f"{i}" + "a" * size for i in range(2)], old=False)


@rule(_ZIP, 300_000)
def _many_names(folder: Path, size: int, chance: random.Random) -> None:
    prefix = chance.choice(("", "layer.", "a.b.c.d."))
    _named(folder, [f"{prefix}{i}.weight" for i in range(size)], old=False)


@rule(_ZIP, 100_000)
def _many_dictionaries(folder: Path, size: int, chance: random.Random) -> None:
    one = torch.zeros(1)
    torch.save([{"1.weight": one} for _ in range(size)], folder / "m.pt")


@rule(_ZIP, 20_000)
def _dictionaries_in_dictionaries(folder: Path, size: int, chance: random.Random) -> bytes:
    inside = _text(b"a") + tensor(1) + b"s"
    return zipped(
        b"\x80\x02" + (b"}" + _text(b"model")) * size + b"}" + inside + b"s" * size + b".", _0=bytes(4)
    )


@rule(_ZIP, 100_000)
def _a_log_beside_the_weights(folder: Path, size: int, chance: random.Random) -> None:
    torch.save(
        {"state_dict": {"a": torch.zeros(1)}, "log": [{"loss": 1.5}] * size, "x": "y" * size}, folder / "m.pt"
    )


@rule(_OLD, 100_000)
def _pickles_in_a_pickle(folder: Path, size: int, chance: random.Random) -> bytes:
    inner = b"\x80\x02(" + b"N" * size + b"l."
    call = b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(inner)) + inner + b"\x85R"
    body = b"ctorch._utils\n_rebuild_tensor_v2\n(" + call + b"K\x00))\x89}tR"
    return b"\x80\x02}(" + b"".join(_text(b"a%d" % i) + body for i in range(min(size, 20))) + b"u."
