"""A few wrong files and command lines for each reader, those that once did harm, and bombs
(``stress/fuzz.py`` has many).
"""

import random
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.tensor_files import read_tensors
from semirobust.data.base.locate import unpack
from semirobust.experiments.recipe import read_recipe
from tests.fuzz.arguments import attempt_arguments, command_line, small_run
from tests.fuzz.fuzzer import attempt, fuzz
from tests.fuzz.readers import READERS

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="bounds time and memory in ways of Linux"
)
_CORPUS, _REACHED = (Path(__file__).parent / name for name in ("corpus", "reached"))


@pytest.mark.parametrize("name", READERS)
def test_wrong_files_are_read_or_refused(name, tmp_path):
    found = list(fuzz(name, 30, 99, tmp_path))
    assert not found, found[0]


@pytest.mark.parametrize("file", sorted(_CORPUS.iterdir()), ids=lambda file: file.name)
def test_what_once_did_harm_does_no_more(file, tmp_path):
    name = file.name.rpartition("-")[0].replace("_", " ")
    READERS[name].make(tmp_path)
    assert attempt(READERS[name], tmp_path, file.read_bytes()) == ""


@pytest.mark.parametrize("place", sorted(_REACHED.iterdir()), ids=lambda place: place.name)
def test_what_reached_new_code_is_read_or_refused(place, tmp_path):
    """Files that coverage-guided fuzzing kept, because they reach code that no other did."""
    reader = READERS[place.name.replace("_", " ")]
    reader.make(tmp_path)
    for file in sorted(place.iterdir()):
        assert attempt(reader, tmp_path, file.read_bytes()) == "", file


def test_good_files_are_read(tmp_path):
    for number, reader in enumerate(READERS.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        reader.make(folder)
        reader.read(folder)


def test_command_lines_that_nobody_means(tmp_path):
    small_run(tmp_path)
    chance = random.Random(5)
    for _ in range(40):
        line = command_line(chance)
        assert attempt_arguments(tmp_path, line) == "", line


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_recipes_take_any_value_or_refuse_it(value):
    for key in (
        "data.train",
        "train.attack_options",
        "threat.epsilon",
        "evaluate.attacks",
        "model.mean",
        "nothing.at.all",
        "seed",
    ):
        try:
            read_recipe(None, {key: value})
        except InputError as error:
            assert 0 < len(str(error)) <= 1000


def test_an_archive_cannot_fill_the_memory(tmp_path):
    bomb = tmp_path / "b.npz"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as entry,
    ):
        np.lib.format.write_array_header_2_0(
            entry, {"descr": "|u1", "fortran_order": False, "shape": (1 << 31, 1, 1, 1)}
        )
        for _ in range(1 << 11):
            entry.write(bytes(1 << 20))
    assert bomb.stat().st_size < 1 << 22
    with pytest.raises(InputError, match="would unpack"):
        sr.load_data(str(bomb))
    with pytest.raises(InputError, match="would unpack"):
        read_tensors(bomb.rename(tmp_path / "b.pt"))


def test_an_archive_cannot_write_elsewhere_or_fill_the_disk(tmp_path):
    inside = tmp_path / "inside"
    for name, kind, target in (
        ("../out", None, ""),
        ("/tmp/out", None, ""),
        ("link", tarfile.SYMTYPE, "/etc"),
        ("tty", tarfile.CHRTYPE, ""),
    ):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind or tarfile.REGTYPE, target
            tar.addfile(entry)
        with pytest.raises(InputError, match="complete tar archive"):
            unpack(tmp_path / "a.tar", inside)
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar"}
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz", compresslevel=1) as tar:
        entry = tarfile.TarInfo("zeros")
        entry.size = 1 << 31
        tar.addfile(entry, _Zeros(entry.size))
    with pytest.raises(InputError, match="would unpack"):
        unpack(tmp_path / "b.tar.gz", inside)
    assert not (inside / "zeros").exists()


class _Zeros:
    def __init__(self, size):
        self.left = size

    def read(self, count):
        count = min(count, self.left)
        self.left -= count
        return bytes(count)


def test_a_picture_cannot_fill_the_memory(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("1", (20_000, 20_000)).save(tmp_path / name / "0.png")
    with warnings.catch_warnings(), pytest.raises(InputError, match="expected a picture"):
        sr.load_data(str(tmp_path), image_size=8).train.all()


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"state_dict": Evil()}, tmp_path / "m.pt")
    with pytest.raises(InputError, match="nothing was run"):
        read_tensors(tmp_path / "m.pt")
    assert not (tmp_path / "harm").exists()
