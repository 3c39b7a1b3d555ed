"""Data of strangers: archives, pictures that are something else, links."""

import contextlib
import dataclasses
import hashlib
import io
import os
import subprocess
import tarfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.data.base.catalogue import CATALOGUE
from semirobust.data.base.picture import decode
from tests.kinds import attempt

_RECORD = b"\x03" + bytes(3072)
_BATCHES = [
    f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
]


def _archive(file: Path, *more: tuple[str, dict], names=_BATCHES) -> str:
    """A tar of CIFAR-10 with two images in each batch, and its MD5 sum."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz") as tar:
        for name, attributes in (*((name, {}) for name in names), *more):
            entry = tarfile.TarInfo(name)
            content = b"" if "type" in attributes else _RECORD * 2
            entry.size = len(content)
            for key, value in attributes.items():
                setattr(entry, key, value)
            tar.addfile(entry, io.BytesIO(content))
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def _publish(monkeypatch: pytest.MonkeyPatch, md5: str) -> None:
    known = CATALOGUE["cifar10"]
    remote = dataclasses.replace(known.remotes[0], md5=md5)
    monkeypatch.setitem(CATALOGUE, "cifar10", dataclasses.replace(known, remotes=(remote,)))


@pytest.mark.parametrize("place", [".", "cifar10"])
@attempt(
    "an archive called like the published one, with another sum",
    "not unpacked, whoever put it there; the sentence names it",
    promise="outside",
)
def test_an_archive_of_another_sum_is_not_unpacked(tmp_path: Path, place: str) -> None:
    _archive(tmp_path / place / "cifar-10-binary.tar.gz")
    with pytest.raises(
        InputError, match=r"cifar-10-binary\.tar\.gz: expected .*published.* unpack it yourself"
    ):
        sr.load_data("cifar10", root=tmp_path)
    assert [p.name for p in (tmp_path / place).iterdir()] == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize(
    "name", ["cifar-10-python.tar.gz", "tiny.zip", "data.tar", "a/cifar-10-binary.tar.gz"]
)
@attempt(
    "an archive of any other name, or in a folder within",
    "not unpacked; the sentence says that it lies there",
    promise="outside",
)
def test_archives_of_other_names_are_not_unpacked(tmp_path: Path, name: str) -> None:
    _archive(tmp_path / name)
    with pytest.raises(InputError, match="expected data_batch_1") as refused:
        sr.load_data("cifar10", root=tmp_path)
    assert ("unpack it yourself" in str(refused.value)) is ("/" not in name)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == [name]


@pytest.mark.parametrize(
    "more",
    [
        ("link", {"type": tarfile.SYMTYPE, "linkname": "cifar-10-batches-bin/test_batch.bin"}),
        ("hard", {"type": tarfile.LNKTYPE, "linkname": "cifar-10-batches-bin/test_batch.bin"}),
        ("pipe", {"type": tarfile.FIFOTYPE}),
        ("tty", {"type": tarfile.CHRTYPE}),
        ("disk", {"type": tarfile.BLKTYPE}),
        ("/absolute", {}),
        ("a/../../outside", {}),
        ("setuid", {"mode": 0o4755}),
    ],
    ids=lambda more: more[0],
)
@attempt(
    "a link, a pipe, a device, an absolute or climbing path or a special mode in an archive whose sum is known",
    "refused before anything is unpacked",
    promise="outside",
)
def test_even_a_known_archive_brings_plain_files_alone(tmp_path, monkeypatch, more) -> None:
    _publish(monkeypatch, _archive(tmp_path / "cifar-10-binary.tar.gz", more))
    with pytest.raises(InputError, match="nothing was unpacked"):
        sr.load_data("cifar10", root=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]


@attempt(
    "a known archive unpacked where links lie that lead elsewhere",
    "nothing is written through them",
    promise="outside",
)
def test_unpacking_writes_through_no_link(tmp_path, monkeypatch) -> None:
    _publish(monkeypatch, _archive(tmp_path / "d" / "cifar-10-binary.tar.gz"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "d" / "cifar-10-batches-bin").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="symbolic link"):
        sr.load_data("cifar10", root=tmp_path / "d")
    assert not [*(tmp_path / "mine").iterdir()]
    (tmp_path / "d" / "cifar-10-batches-bin").unlink()
    assert len(sr.load_data("cifar10", root=tmp_path / "d").train) == 10


def _pictures(folder: Path) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full((8, 8, 3), 60 * i, np.uint8)).save(folder / name / f"{i}.png")
    return folder


_POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@attempt(
    "a `cat.png` that is PostScript",
    "refused by its content; of Pillow's decoders seven may be called, none of which starts a program",
    promise="executed",
)
def test_postscript_starts_no_program(tmp_path, monkeypatch, suffix) -> None:
    def started(*a, **k):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    (tmp_path / f"cat{suffix}").write_bytes(_POSTSCRIPT)
    with pytest.raises(InputError, match="expected a picture, got one that cannot be read"):
        decode(tmp_path / f"cat{suffix}", 8, "cat")


@attempt(
    "a picture of another decoder under a usual name: PSD, ICNS, FITS, PDF, WMF, IM, JPEG 2000, what a plugin adds",
    "no decoder but the seven listed is ever asked",
    promise="executed",
)
def test_other_decoders_are_never_asked(tmp_path, monkeypatch) -> None:
    Image.init()
    listed = {"PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"}
    Image.register_open("OF_A_PLUGIN", None, lambda head: True)
    asked = []
    try:
        for name, (factory, accept) in list(Image.OPEN.items()):
            if name not in listed:
                factory, accept = (lambda *a, n=name: asked.append(n)), (lambda head, n=name: asked.append(n))
                monkeypatch.setitem(Image.OPEN, name, (factory, accept))
        for head in (
            _POSTSCRIPT,
            b"8BPS\0\1",
            b"icns",
            b"SIMPLE  =",
            b"%PDF-1.7",
            b"\xd7\xcd\xc6\x9a",
            b"\0\0\0\x0cjP  \r\n",
        ):
            (tmp_path / "x.png").write_bytes(head + bytes(600))
            with pytest.raises(InputError, match="cannot be read"):
                decode(tmp_path / "x.png", 8, "x.png")
    finally:
        Image.OPEN.pop("OF_A_PLUGIN")
        Image.ID.remove("OF_A_PLUGIN")
    assert not asked


@attempt(
    "a picture under the name of another format",
    "read as what its content is",
    promise="executed",
)
def test_content_says_what_a_picture_is(tmp_path) -> None:
    picture = Image.fromarray(np.full((8, 8, 3), 90, np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        picture.save(tmp_path / "x.png", kind, **({"lossless": True} if kind == "WEBP" else {}))
        assert decode(tmp_path / "x.png", 8, "x.png").pixels.float().mean() == pytest.approx(90, abs=1)


@attempt(
    "a TIFF of 100,000 frames, a PNG whose text unpacks to gigabytes",
    "no more than two frames are looked at, and they are not counted; the text is refused",
    promise="small",
)
def test_bombs_beside_the_pixels(tmp_path) -> None:
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "x.tif")
    content = bytearray((tmp_path / "x.tif").read_bytes())
    first = int.from_bytes(content[4:8], "little")
    after = first + 2 + 12 * int.from_bytes(content[first : first + 2], "little")
    content[after : after + 4] = len(content).to_bytes(4, "little")
    for i in range(100_000):  # each without an entry, and where the next lies
        content += (0).to_bytes(2, "little") + (len(content) + 6 if i < 99_999 else 0).to_bytes(4, "little")
    (tmp_path / "x.tif").write_bytes(content)
    began = time.process_time()
    with contextlib.suppress(InputError):  # the second frame has no pixels
        decode(tmp_path / "x.tif", 8, "x.tif")
    assert time.process_time() - began < 1

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "x.png")
    png = (tmp_path / "x.png").read_bytes()
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 << 20), 9))
    (tmp_path / "x.png").write_bytes(png[:33] + text + png[33:])
    with pytest.raises(InputError, match="cannot be read"):
        decode(tmp_path / "x.png", 8, "x.png")


def _link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def _hard_link(path: Path, target: Path) -> None:
    path.hardlink_to(target)


@pytest.mark.parametrize("make", [_link, _hard_link])
@attempt(
    "a picture in a folder of data that is a link or a hard link to a file elsewhere",
    "refused, and the sentence names --data-links, with which links of one's own are followed",
    promise="outside",
)
def test_links_among_pictures(tmp_path: Path, make) -> None:
    folder, other = _pictures(tmp_path / "d"), _pictures(tmp_path / "other")
    make(folder / "cat" / "2.png", other / "dog" / "1.png")
    with pytest.raises(InputError, match="link.*--data-links"):
        sr.load_data(str(folder), image_size=8)
    splits = sr.load_data(str(folder), image_size=8, links=True)
    assert len(splits.train) + len(splits.test) == 5


@attempt(
    "a folder of data with a link to a folder, or one that leads back to itself",
    "refused; with --data-links followed, and refused where it has no end",
    promise="outside",
)
def test_linked_folders_of_pictures(tmp_path: Path) -> None:
    folder, other = _pictures(tmp_path / "d"), _pictures(tmp_path / "other")
    (folder / "owl").symlink_to(other / "dog")
    with pytest.raises(InputError, match="link.*--data-links"):
        sr.load_data(str(folder), image_size=8)
    assert sr.load_data(str(folder), image_size=8, links=True).train.classes == ("cat", "dog", "owl")
    (folder / "cat" / "again").symlink_to(folder / "cat")
    with pytest.raises(InputError, match="leads back"):
        sr.load_data(str(folder), image_size=8, links=True)


@attempt("a named pipe or a socket among pictures", "left out, and nothing waits for it", promise="outside")
def test_pipes_among_pictures(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "d")
    os.mkfifo(folder / "cat" / "2.png")
    splits = sr.load_data(str(folder), image_size=8)
    assert len(splits.train) + len(splits.test) == 4


def test_a_folder_that_is_named_may_be_a_link(tmp_path: Path) -> None:
    _pictures(tmp_path / "d")
    (tmp_path / "pets").symlink_to("d")
    splits = sr.load_data(str(tmp_path / "pets"), image_size=8)
    assert splits.name == "pets" and len(splits.train) + len(splits.test) == 4
