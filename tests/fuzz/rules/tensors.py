"""Safetensors files, indices and training states whose header lies."""

import json
import random
import struct
from pathlib import Path

from tests.fuzz.grammar import rule

_FILE, _STATE, _RUN = "safetensors", "state", "run's weights"


def safetensors(header: dict[str, object] | str, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(begin: int = 0, end: int = 4, shape: tuple[int, ...] = (1,)) -> dict[str, object]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}


@rule(_FILE, 2**63)
def _length_of_the_header(folder: Path, size: int, chance: random.Random) -> bytes:
    return safetensors({"a": _entry()}, bytes(4), size)


@rule(_FILE, 30_000_000)
def _spaces_in_the_header(folder: Path, size: int, chance: random.Random) -> bytes:
    return safetensors("{" + " " * size + "}")


@rule(_FILE, 300_000)
def _many_tensors(folder: Path, size: int, chance: random.Random) -> bytes:
    return safetensors({f"{i}": _entry(0, 0, (0,)) for i in range(size)})


@rule(_FILE, 300_000)
def _overlapping_tensors(folder: Path, size: int, chance: random.Random) -> bytes:
    return safetensors({f"a{i}": _entry() for i in range(size)}, bytes(4))


@rule(_FILE, 2**63)
def _shape(folder: Path, size: int, chance: random.Random) -> bytes:
    shape = chance.choice(((size,), (size, 0), (2**32, 2**32), (0, size, size), (1,) * min(size, 5000)))
    return safetensors({"1.weight": _entry(0, 0 if 0 in shape else 4, shape)}, bytes(4))


@rule(_FILE, 2**63)
def _offsets(folder: Path, size: int, chance: random.Random) -> bytes:
    ends = chance.choice(((0, size), (size, size + 4), (4, 0), (size, 0)))
    return safetensors({"1.weight": _entry(*ends)}, bytes(4))


@rule(_FILE, 300_000)
def _dots(folder: Path, size: int, chance: random.Random) -> bytes:
    return safetensors({"a." * size + "weight": _entry()}, bytes(4))


@rule(_FILE, 4_000_000)
def _long_name(folder: Path, size: int, chance: random.Random) -> bytes:
    return safetensors({"a" * size: _entry()}, bytes(4))


@rule(_FILE, 300_000)
def _twins_in_the_metadata(folder: Path, size: int, chance: random.Random) -> bytes:
    twins = {"b." * size: "a"} if chance.random() < 0.5 else {f"b{i}": "a" for i in range(size)}
    return safetensors({"a": _entry(), "__metadata__": twins}, bytes(4))


@rule(_STATE, 300_000)
def _nested_metadata(folder: Path, size: int, chance: random.Random) -> bytes:
    opening, closing = chance.choice((("[", "]"), ('{"a":', "}")))
    text = opening * size + "1" + closing * size
    return safetensors({"a": _entry(), "__metadata__": {"semirobust": text}}, bytes(4))


@rule(_STATE, 3_000_000)
def _metadata_of_many_values(folder: Path, size: int, chance: random.Random) -> bytes:
    text = chance.choice(("[" + "[]," * size + "1]", "[" + "9" * size + "]", '{"key": "' + "k" * size + '"}'))
    return safetensors({"a": _entry(), "__metadata__": {"semirobust": text}}, bytes(4))


@rule(_STATE, 10**18)
def _numbers_of_a_state(folder: Path, size: int, chance: random.Random) -> bytes:
    state = {"epoch": size, "layers": [size], "logs": [], "underway": None, "best_epoch": size}
    own = {"state": state, "key": "k", "format": 3, "sum": ""}
    return safetensors({"a": _entry(), "__metadata__": {"semirobust": json.dumps(own)}}, bytes(4))


@rule(_RUN, 300_000)
def _weights_of_a_run(folder: Path, size: int, chance: random.Random) -> bytes:
    return safetensors({f"network.{i}.weight": _entry(0, 0, (0, 2**40)) for i in range(size)})


@rule("index", 300_000)
def _index(folder: Path, size: int, chance: random.Random) -> str:
    kind = chance.randrange(5)
    if kind == 0:
        return json.dumps({"weight_map": {f"a{i}": "m.safetensors" for i in range(size)}})
    if kind == 1:
        return json.dumps({"weight_map": {f"a{i}": f"m{i}.safetensors" for i in range(size)}})
    if kind == 2:
        return json.dumps({"weight_map": {"a": "m.safetensors.index.json"}})
    if kind == 3:
        return json.dumps({"weight_map": {"a": "../" * size + "m.safetensors"}})
    return '{"weight_map":' + "[" * size
