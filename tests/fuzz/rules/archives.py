"""npz, idx, gzip, tar and zip files that claim or unpack to more than they hold."""

import gzip
import io
import random
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tests.fuzz.grammar import rule

_NPZ, _TWO = "npz", "npz, two"


def _header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _npz(entries: dict[str, tuple[bytes, int]]) -> bytes:
    """An archive of headers, each with so many zeros behind it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, (head, zeros) in entries.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                entry.write(head)
                for at in range(0, zeros, 1 << 20):
                    entry.write(bytes(min(1 << 20, zeros - at)))
    return file.getvalue()


@rule(_NPZ, 400 << 20)
def _tiny_images(folder: Path, size: int, chance: random.Random) -> bytes:
    shape = chance.choice(((size, 1, 1), (size, 1, 1, 1), (size, 1)))
    return _npz({"x": (_header(shape), size), "y": (_header((size,)), size)})


@rule(_NPZ, 10**15)
def _shape_that_lies(folder: Path, size: int, chance: random.Random) -> bytes:
    shape = chance.choice(
        ((size, 3, 4, 4), (3, size, 4, 4), (size, 0), (10**1000,), (size,) * 5, (-size, 4, 4))
    )
    return _npz({"x": (_header(shape), 100), "y": (_header((4,), "<i8"), 32)})


@rule(_NPZ, 10**12)
def _values_of_no_bytes(folder: Path, size: int, chance: random.Random) -> bytes:
    kind = chance.choice(("|S0", "<U0", "|V0", "|u1"))
    shape = (size, 0) if kind == "|u1" else (size,)
    return _npz({"x": (_header(shape, kind), 0), "y": (_header((size, 0), "<i8"), 0)})


@rule(_NPZ, 5_000)
def _many_arrays(folder: Path, size: int, chance: random.Random) -> bytes:
    return _npz({f"a{i}": (_header((1,)), 1) for i in range(size)})


@rule(_NPZ, 60_000)
def _long_header(folder: Path, size: int, chance: random.Random) -> bytes:
    text = chance.choice(
        ("(" * size, "[" * size, "{'descr': '|u1', 'shape': (" + "1," * size + "), 'fortran_order': False}")
    )
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text.encode()
    return _npz({"x": (head, 1), "y": (_header((1,)), 1)})


@rule(_NPZ, 1 << 30)
def _zeros(folder: Path, size: int, chance: random.Random) -> bytes:
    many = min(size, 400 << 20)
    return _npz(
        {"x": (_header((max(many // 3072, 1), 3, 32, 32)), many // 3072 * 3072), "y": (_header((1,)), 1)}
    )


@rule(_NPZ, 5_000)
def _types(folder: Path, size: int, chance: random.Random) -> bytes:
    kind = chance.choice(("<c16", "|O", "<M8[s]", "<f2", "<f8", "|b1", "<i8", f"|V{size}", "<U4"))
    wide = np.dtype(kind).itemsize
    return _npz({"x": (_header((4, 1, 3, 3), kind), 36 * wide), "y": (_header((4,), "<u8"), 32)})


def _entries(count: int, *, alike: bool) -> bytes:
    """A zip file of so many empty entries, in which all may be the same."""
    head = b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    out, places = io.BytesIO(), []
    for _ in range(1 if alike else count):
        places.append(out.tell())
        out.write(head)
    begin = out.tell()
    one = struct.pack("<HHHHHHIIIHHHHHI", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0)
    for i in range(count):
        out.write(b"PK\1\2" + one + struct.pack("<I", places[0 if alike else i])[:4] + b"a")
    size = out.tell() - begin
    out.write(b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count & 65535, count & 65535, size, begin, 0))
    return out.getvalue()


@rule("pt", 600_000)
def _entries_of_a_zip(folder: Path, size: int, chance: random.Random) -> bytes:
    return _entries(size, alike=chance.random() < 0.5)


@rule(_TWO, 600_000)
def _entries_of_an_npz(folder: Path, size: int, chance: random.Random) -> bytes:
    return _entries(size, alike=chance.random() < 0.5)


@rule("pt", 2**63)
def _end_of_a_zip(folder: Path, size: int, chance: random.Random) -> bytes:
    """The end of the archive claims other places and sizes."""
    good = bytearray((folder / "m.pt").read_bytes())
    at = good.rfind(b"PK\5\6")
    which = chance.choice((4, 8, 10, 12, 16, 20))
    width = 4 if which in (12, 16) else 2
    good[at + which : at + which + width] = (size % (1 << 8 * width)).to_bytes(width, "little")
    if chance.random() < 0.3:
        locator = b"PK\6\7" + struct.pack("<IQI", 0, size, 1)
        good[at:at] = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, size, 0) + locator
    return bytes(good) + (b"x" * (size % 70_000) if chance.random() < 0.3 else b"")


@rule("pt", 2**32 - 1)
def _sizes_in_a_zip(folder: Path, size: int, chance: random.Random) -> bytes:
    """The list of entries claims other sizes, ways of packing and places."""
    good = bytearray((folder / "m.pt").read_bytes())
    starts = [i for i in range(len(good) - 4) if good[i : i + 4] == b"PK\1\2"]
    at = chance.choice(starts) + chance.choice((10, 20, 24, 42))
    good[at : at + 4] = size.to_bytes(4, "little")
    return bytes(good)


@rule("idx", 2**32 - 1)
def _sizes_of_an_idx(folder: Path, size: int, chance: random.Random) -> bytes:
    count = chance.choice((1, 2, 3, 4, 8, 9, 200, 255))
    sizes = [chance.choice((1, size, size % 100, 0)) for _ in range(count)]
    return b"\0\0\x08" + bytes([count]) + struct.pack(f">{count}I", *sizes) + bytes(size % 5000)


def _gz_zeros(size: int, head: bytes) -> bytes:
    packer, parts = zlib.compressobj(9, wbits=31), []
    parts.append(packer.compress(head))
    for _ in range(min(size >> 20, 300) + 1):
        parts.append(packer.compress(bytes(min(size, 1 << 20))))
    return b"".join(parts) + packer.flush()


@rule("idx.gz", 1 << 31)
def _zeros_in_gzip(folder: Path, size: int, chance: random.Random) -> bytes:
    shape = chance.choice(((size,), (size // 784, 28, 28), (size, 1, 1), (1, 1, size)))
    head = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *(n % 2**32 for n in shape))
    return _gz_zeros(size, head)


@rule("idx.gz", 100_000)
def _members_of_gzip(folder: Path, size: int, chance: random.Random) -> bytes:
    return (
        gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", size))
        + gzip.compress(b"") * size
        + gzip.compress(bytes(size))
    )


@rule("tar.gz", 1 << 40)
def _sizes_in_a_tar(folder: Path, size: int, chance: random.Random) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        entry = tarfile.TarInfo(chance.choice(("a", "../a", "/tmp/a", "a/" * 200 + "b", "a" * 3000)))
        entry.type = chance.choice(
            (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
        )
        entry.linkname = chance.choice(("/etc/passwd", "../../x", "a"))
        tar.addfile(entry)
        big = tarfile.TarInfo("big")
        big.size = size
        out_header = big.tobuf()
        tar.fileobj.write(out_header)
    return out.getvalue()


@rule("tar.gz", 100_000)
def _members_of_a_tar(folder: Path, size: int, chance: random.Random) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as packed:
        packed.write(tarfile.TarInfo("a").tobuf() * min(size, 20_000) + bytes(1024))
    return out.getvalue()


@rule("cifar.bin", 3_000_000)
def _rows(folder: Path, size: int, chance: random.Random) -> bytes:
    return bytes([size % 256]) * (size // 3073 * 3073)
