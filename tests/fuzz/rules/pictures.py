"""Pictures of huge sides, endless chunks, strips and frames."""

import io
import random
import struct
import zlib
from pathlib import Path

from PIL import Image

from tests.fuzz.grammar import rule
from tests.fuzz.rules.records import bomb

_PNG, _GIF, _TIF, _JPG = "png", "gif", "tif", "jpg"


@rule(_PNG, 60_000)
def _sides(folder: Path, size: int, chance: random.Random) -> bytes:
    return bomb(*chance.choice(((size, size), (size, 1), (1, size), (size, 100))))


@rule(_PNG, 5_000)
def _a_folder_of_them(folder: Path, size: int, chance: random.Random) -> bytes:
    content = bomb(size, size)
    for i in range(chance.randrange(1, 12)):
        (folder / "a" / f"more{i}.png").write_bytes(content)
    return content


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@rule(_PNG, 60 << 20)
def _packed_chunks(folder: Path, size: int, chance: random.Random) -> bytes:
    good = bomb(9, 7)
    packed = zlib.compress(bytes(size), 1)
    extra = chance.choice(
        (
            _chunk(b"zTXt", b"a\0\0" + packed),
            _chunk(b"iTXt", b"a\0\1\0\0\0" + packed),
            _chunk(b"iCCP", b"a\0\0" + packed),
            _chunk(b"tEXt", b"a\0" + bytes(size % (8 << 20))),
            _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 19), 9)) * (size % 400),
            _chunk(b"eXIf", b"MM\0*" + bytes(size % (1 << 20))),
            struct.pack(">I", size) + b"tEXt",
            _chunk(b"acTL", struct.pack(">II", size % 2**31, 0)),
        )
    )
    return good[:33] + extra + good[33:]


@rule(_PNG, 300_000)
def _many_chunks(folder: Path, size: int, chance: random.Random) -> bytes:
    good = bomb(9, 7)
    return good[:33] + _chunk(chance.choice((b"tEXt", b"teST", b"gAMA")), b"a\0b\0") * size + good[33:]


@rule(_GIF, 60_000)
def _frames(folder: Path, size: int, chance: random.Random) -> bytes:
    frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + frame * size + b";"


@rule(_GIF, 65_535)
def _screen(folder: Path, size: int, chance: random.Random) -> bytes:
    sides = struct.pack("<HH", size, chance.choice((size, 1, 100)))
    frame = b",\0\0\0\0" + chance.choice((sides, b"\x01\0\x01\0")) + b"\0\x02\x02D\x01\0"
    return b"GIF89a" + sides + b"\x80\0\0\0\0\0\xff\xff\xff" + frame + b";"


def _tiff(entries: list[tuple[int, int, int, bytes]], after: bytes = bytes(4), body: bytes = b"") -> bytes:
    out = b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(entries))
    for tag, kind, count, value in sorted(entries):
        out += struct.pack("<HHI", tag, kind, count) + value
    return out + after


def _long(value: int) -> bytes:
    return struct.pack("<I", value % 2**32)


@rule(_TIF, 300_000)
def _strips(folder: Path, size: int, chance: random.Random) -> bytes:
    body = b"".join(_long(8) for _ in range(size)) + b"".join(_long(1) for _ in range(size))
    entries = [
        (256, 4, 1, _long(1)), (257, 4, 1, _long(size)), (258, 3, 1, _long(8)), (259, 3, 1, _long(1)),
        (262, 3, 1, _long(1)), (273, 4, size, _long(8)), (278, 4, 1, _long(1)), (279, 4, size, _long(8 + 4 * size)),
    ]  # fmt: skip
    return _tiff(entries, body=body)


@rule(_TIF, 2**32 - 1)
def _sides_of_a_tiff(folder: Path, size: int, chance: random.Random) -> bytes:
    other = chance.choice((1, 100, size))
    packing = chance.choice((1, 5, 8, 32773))
    entries = [
        (256, 4, 1, _long(size)), (257, 4, 1, _long(other)), (258, 3, 1, _long(chance.choice((1, 8, 16, 32)))),
        (259, 3, 1, _long(packing)), (262, 3, 1, _long(1)), (273, 4, 1, _long(8)), (278, 4, 1, _long(other)),
        (279, 4, 1, _long(4)), (chance.choice((270, 305, 33723, 34377, 700)), 2, size % 2**28, _long(8)),
    ]  # fmt: skip
    return _tiff(entries, body=bytes(4))


@rule(_TIF, 60_000)
def _directories(folder: Path, size: int, chance: random.Random) -> bytes:
    good = io.BytesIO()
    Image.new("L", (2, 2)).save(good, "tiff")
    content = bytearray(good.getvalue())
    at = struct.unpack("<I", content[4:8])[0]
    count = struct.unpack("<H", content[at : at + 2])[0]
    end = at + 2 + 12 * count
    table = bytes(content[at:end])
    if chance.random() < 0.2:
        content[end : end + 4] = _long(at)  # which leads to itself
        return bytes(content)
    content[end : end + 4] = _long(len(content))
    for _ in range(min(size, 20_000)):
        content += table + _long(len(content) + len(table) + 4)
    return bytes(content)


@rule(_JPG, 65_500)
def _sides_of_a_jpeg(folder: Path, size: int, chance: random.Random) -> bytes:
    good = bytearray((folder / "b/0.jpg").read_bytes())
    at = good.find(b"\xff\xc0")
    good[at + 5 : at + 9] = struct.pack(">HH", *chance.choice(((size, size), (1, size), (size, 3))))
    return bytes(good)


@rule(_JPG, 2_000)
def _segments(folder: Path, size: int, chance: random.Random) -> bytes:
    good = (folder / "b/0.jpg").read_bytes()
    kind = chance.choice((b"\xff\xe1", b"\xff\xe2", b"\xff\xed", b"\xff\xfe", b"\xff\xdb"))
    text = chance.choice(
        (
            b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff\xff" * 9,
            b"ICC_PROFILE\0\1\1",
            b"http://ns.adobe.com/xap/1.0/\0",
        )
    )
    body = (text + bytes(4_000))[:65_000]
    return good[:2] + (kind + struct.pack(">H", len(body) + 2) + body) * size + good[2:]


@rule("bmp", 2**31 - 1)
def _sides_of_a_bitmap(folder: Path, size: int, chance: random.Random) -> bytes:
    good = bytearray((folder / "b/0.bmp").read_bytes())
    at = chance.choice((10, 14, 18, 22, 28, 30, 46))
    good[at : at + 4] = struct.pack("<I", size)
    return bytes(good)


@rule("ppm", 10**9)
def _sides_of_a_ppm(folder: Path, size: int, chance: random.Random) -> str:
    kind = chance.choice(("P1", "P2", "P3", "P4", "P5", "P6"))
    sides = chance.choice(
        (
            f"{size} 1",
            f"{size % 60_000} {size % 60_000}",
            f"{'9' * (size % 6000 + 1)} 1",
            f"1 1 {'#' * (size % 10**6)}",
        )
    )
    return f"{kind}\n{sides}\n255\n" + "1 " * (size % 3000)


@rule("classes", 3_000)
def _many_classes(folder: Path, size: int, chance: random.Random) -> None:
    for i in range(size):
        (folder / f"c{i}").mkdir()
        (folder / f"c{i}" / "a.png").write_bytes(b"a")


@rule("classes", 5_000)
def _many_files(folder: Path, size: int, chance: random.Random) -> None:
    for i in range(size):
        (folder / "a" / f"{i}.png").write_bytes(b"a")
