"""Records that are many, large, far apart, or of pictures that unpack to gigabytes."""

import base64
import io
import json
import lzma
import random
import struct
import zlib
from pathlib import Path
from typing import Any

from tests.fuzz.grammar import rule

_FILE, _PACKED = "records", "records.xz"
_AT = {"config": "c", "version": "v", "device": "d", "seed": "0"}


def _line(kind: str = "number", about: dict[str, Any] | None = None, **fields: Any) -> str:
    whole = {"schema_version": 2, "kind": kind, "about": about or {}, "origin": _AT, **fields}
    return json.dumps(whole) + "\n"


def _number(quantity: str, about: dict[str, Any], value: float = 0.5, **more: Any) -> str:
    return _line(about=about, quantity=quantity, value=value, **more)


def _old(name: str, **labels: Any) -> str:
    return json.dumps({"kind": "number", "name": name, "value": 0.5, "labels": labels, "origin": _AT}) + "\n"


@rule(_FILE, 3_000)
def _arms_and_attacks(folder: Path, size: int, chance: random.Random) -> str:
    make = chance.choice((_old, None))
    if make is None:
        return "".join(_number("accuracy", {"arm": f"a{i}", "attack": f"k{i}"}) for i in range(size))
    return "".join(_old("accuracy", arm=f"a{i}", attack=f"k{i}") for i in range(size))


@rule(_FILE, 100_000)
def _attacks_of_one_arm(folder: Path, size: int, chance: random.Random) -> str:
    return "".join(_number("accuracy", {"arm": "a", "attack": f"k{i}"}) for i in range(min(size, 39_000)))


@rule(_FILE, 10**12)
def _far_away(folder: Path, size: int, chance: random.Random) -> str:
    quantity = chance.choice(
        (
            "measure",
            "validation_measure",
            "trained_layer",
            "validation_robust",
            "recovery_best",
            "density",
            "feature",
        )
    )
    key = chance.choice(("layer", "epoch", "level", "seed", "trial", "suffix", "feature", "size", "k"))
    unit = {"unit": "1"}
    lines = [
        _number(quantity, {"measure": "criticality", "arm": "a", "layer": 1, "epoch": 1, key: v}, **unit)
        for v in (1, size)
    ]
    return "".join(lines)


@rule(_FILE, 20_000)
def _layers_and_epochs(folder: Path, size: int, chance: random.Random) -> str:
    quantity = chance.choice(("validation_measure", "trained_layer"))
    ends = [
        _number(quantity, {"measure": "criticality", "layer": i + 1, "epoch": 1}, unit="1")
        for i in range(size)
    ]
    more = [
        _number(quantity, {"measure": "criticality", "layer": 1, "epoch": i + 1}, unit="1")
        for i in range(size)
    ]
    return "".join((ends + more)[:39_000])


@rule(_FILE, 20_000)
def _trials_and_epochs(folder: Path, size: int, chance: random.Random) -> str:
    at = {"suffix": 2, "arm": "suffix"}
    lines = [_number("recovery_best", at)]
    lines += [_number("validation_robust", {**at, "trial": 0, "epoch": i}) for i in range(size)]
    lines += [_number("validation_robust", {**at, "trial": i, "epoch": 0}) for i in range(size)]
    lines += [_number("epoch_seconds", {**at, "trial": i, "epoch": i}) for i in range(size)]
    return "".join(lines[:39_000])


@rule(_FILE, 20_000)
def _levels(folder: Path, size: int, chance: random.Random) -> str:
    lines = []
    for i in range(min(size, 20_000)):
        lines.append(_number("density", {"arm": "a", "level": i}))
        lines.append(_number("accuracy", {"arm": "a", "level": i, "attack": f"k{i % 50}"}))
    return "".join(lines)


@rule(_FILE, 20_000)
def _curves(folder: Path, size: int, chance: random.Random) -> str:
    return "".join(
        _number(
            "accuracy_by_epsilon",
            {"arm": f"a{i % 300}", "norm": f"n{i % 70}", "epsilon": i / 1000, "attack": "k"},
        )
        for i in range(size)
    )


@rule(_FILE, 20_000)
def _transfers(folder: Path, size: int, chance: random.Random) -> str:
    return "".join(
        _number("transfer_accuracy", {"source": f"s{i}", "target": f"t{i}", "arm": f"a{i % 9}"})
        for i in range(size)
    )


@rule(_FILE, 20_000)
def _layers_of_a_network(folder: Path, size: int, chance: random.Random) -> str:
    lines = []
    for i in range(1, size + 1):
        entry = {
            "index": i,
            "name": f"l{i}",
            "type": "Conv2d",
            "shape": [8, 8, 8],
            "parameters": 1,
            "block": "",
        }
        lines.append(_line("layer", **entry))
        lines.append(
            _number("measure", {"measure": "criticality", "layer": i, "arm": f"a{i % 30}"}, unit="1")
        )
        lines.append(
            _number("measure", {"measure": "connectivity", "layer": i, "arm": f"a{i % 30}"}, unit="bits")
        )
    return "".join(lines[:39_000])


@rule(_FILE, 10**18)
def _shape_of_a_layer(folder: Path, size: int, chance: random.Random) -> str:
    shape = chance.choice(([size, size, size], [size] * 3, [1] * (size % 10**6), [-size, 2, 2], [10**40] * 3))
    entry = {"index": 1, "name": "l", "type": "Conv2d", "shape": shape, "parameters": size, "block": "b"}
    return _line("layer", **entry) + _number("measure", {"measure": "criticality", "layer": 1}, unit="1")


@rule(_FILE, 300_000)
def _many(folder: Path, size: int, chance: random.Random) -> str:
    return (
        chance.choice((_old("accuracy", arm="a", attack="k"), _number("accuracy", {"attack": "clean"})))
        * size
    )


@rule(_FILE, 100_000)
def _findings(folder: Path, size: int, chance: random.Random) -> str:
    topic = chance.choice(("note", "check", "verdict", "measure"))
    level = chance.choice(("good", "note"))
    return "".join(
        _line("finding", {"run": f"r{i}"}, topic=topic, text="x" * 20, level=level)
        for i in range(min(size, 39_000))
    )


@rule(_FILE, 5_000)
def _settings(folder: Path, size: int, chance: random.Random) -> str:
    return _line("settings", stage="train", settings={"k": ["v" * 100] * 50}) * size


@rule(_FILE, 30_000_000)
def _one_large(folder: Path, size: int, chance: random.Random) -> str:
    kind = chance.choice(("finding", "picture", "settings"))
    if kind == "finding":
        return _line(kind, topic="note", text="x" * size)
    if kind == "picture":
        return _line(kind, png="A" * size, caption="c")
    return _line(kind, stage="s", settings={"a": "x" * size})


@rule(_FILE, 100_000)
def _nested(folder: Path, size: int, chance: random.Random) -> str:
    opening, closing = chance.choice((("[", "]"), ('{"a":', "}")))
    inside = opening * size + "1" + closing * size
    return _line("settings", stage="s", settings="HERE").replace('"HERE"', '{"a":' + inside + "}")


@rule(_FILE, 300_000)
def _digits(folder: Path, size: int, chance: random.Random) -> str:
    text = _number("accuracy", {"attack": "clean", "layer": 77}, 0.5, n=88)
    return text.replace(
        chance.choice(("0.5", "77", "88")), chance.choice(("9" * size, "1e" + "9" * (size % 4000 + 1)))
    )


@rule(_FILE, 400)
def _values(folder: Path, size: int, chance: random.Random) -> str:
    values = ("NaN", "Infinity", "-Infinity", f"1e{size - 50}", f"-1e{size - 50}", f"1e-{size}", "0", "-0.0")
    lines = []
    for quantity, measure in (
        ("measure", "criticality"),
        ("measure", "connectivity"),
        ("accuracy", None),
        ("measure", "readout"),
    ):
        at = {"layer": 2, "attack": "k", "arm": "a", **({"measure": measure} if measure else {})}
        number = {"quantity": quantity, "value": "HERE", "low": "HERE", "high": "HERE", "n": 3}
        text = _line(about=at, **number, **({"unit": "1"} if measure else {}))
        lines.append("".join(chance.choice(values) if part is None else part for part in _split(text)))
    layer = {"index": 2, "name": "l", "type": "t", "shape": [1, 1, 1], "parameters": 1, "block": ""}
    return "".join([_line("layer", **layer), *lines])


def _split(text: str) -> list[str | None]:
    parts: list[str | None] = []
    for part in text.split('"HERE"'):
        parts += [part, None]
    return parts[:-1]


def bomb(width: int, height: int) -> bytes:
    """A small PNG that unpacks to so many pixels of one colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer, out = zlib.compressobj(9), io.BytesIO()
    row = bytes(1 + (width + 7) // 8)
    for _ in range(min(height, (64 << 20) // len(row) + 1)):
        out.write(packer.compress(row))
    out.write(packer.flush())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", out.getvalue()) + chunk(b"IEND", b"")


@rule(_FILE, 60_000)
def _pictures_that_unpack(folder: Path, size: int, chance: random.Random) -> str:
    picture = _line("picture", png=base64.b64encode(bomb(size, size)[:40]).decode(), caption="c")
    return picture * (size % 300 + 1)


@rule(_PACKED, 1 << 30)
def _packed(folder: Path, size: int, chance: random.Random) -> bytes:
    unit = chance.choice((b"\n", bytes(1), _number("accuracy", {"attack": "k"}).encode(), b"[" * 64))
    packer, parts = lzma.LZMACompressor(preset=0), []
    piece = unit * (min(size, 1 << 22) // len(unit) + 1)
    for _ in range(min(size >> 22, 60) + 1):
        parts.append(packer.compress(piece))
    return b"".join(parts) + packer.flush()


@rule(_PACKED, 32)
def _dictionary(folder: Path, size: int, chance: random.Random) -> bytes:
    packed = bytearray(lzma.compress(_number("accuracy", {"attack": "k"}).encode()))
    packed[min(15, len(packed) - 1)] = size
    return bytes(packed)
