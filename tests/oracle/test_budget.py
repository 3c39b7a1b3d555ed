"""What small and lying files cost: each kind is read or refused within the budget, in a process of its own."""

import random
import re
import sys

import pytest
import torch
from stress.grammar import tried
from torch import nn

import semirobust as sr
import tests.fuzz.rules
from semirobust.core.budget import BUDGET, Budget, is_short_number, parse_json
from semirobust.core.docstrings import meanings
from semirobust.core.errors import InputError
from semirobust.core.pickles import check_pickles
from semirobust.core.values import parse_fraction
from semirobust.experiments.small import build_small
from semirobust.records.store import read_records
from semirobust.reports.page import write_report
from tests.fuzz.grammar import RULES
from tests.kinds import attempt

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="measures memory and forks in ways of Linux"
)
assert tests.fuzz.rules


def _hold(pattern, tmp_path, sizes=(1.0, 0.5), least=1):
    """Files of all rules that match, at their largest and at lesser sizes, cost what they may."""
    names = [name for name in RULES if re.search(pattern, name)]
    assert len(names) >= least
    for name in names:
        for share in sizes:
            cost = tried(name, round(RULES[name].most ** share), random.Random(f"{name}{share}"), tmp_path)
            assert not cost.wrong, f"{name}: {cost}"


@attempt(
    "a `.pt` of millions of instructions, packed, old or new, of copies of the top or of places in the memo",
    "refused: instructions are counted before anything reads them",
    promise="small",
)
def test_instructions_of_a_pickle(tmp_path):
    _hold("^pt.*(many values|copies of the top|places in the memo|packed instr|place far)", tmp_path, least=8)


@attempt(
    "a pickle of lists in lists, tuples that double with each level, as a value, a key and a storage",
    "read or refused; none is printed, compared or hashed",
    promise="small",
)
def test_nesting_of_a_pickle(tmp_path):
    _hold("^(pt|cifar).*(laughs|in tuples|in lists|marks|sets of)", tmp_path, sizes=(1.0,), least=12)


@attempt(
    "a pickle that calls for `bytearray(10**12)`, one text as many bytes, or one state for many dictionaries",
    "nothing is called; what copies, counts",
    promise="small",
)
def test_calls_of_a_pickle(tmp_path):
    _hold("^(pt|cifar).*(any number|any size|as many|one state|quadratic|names made)", tmp_path, sizes=(1.0,))


@attempt(
    "numbers of megabytes in a pickle", "refused by their length, before they are numbers", promise="small"
)
def test_numbers_of_a_pickle(tmp_path):
    _hold("^(pt|cifar).*(whole number|digits|frame|long name$)", tmp_path, sizes=(1.0,))


@attempt(
    "a tensor of one value that stands for 10^15, one beyond its storage, or a storage beyond its file",
    "refused, or read as the view that it is; nothing is written out",
    promise="small",
)
def test_tensors_that_claim_more(tmp_path):
    _hold("^pt.*(one value|more than|beyond the file|views)", tmp_path, sizes=(1.0, 0.9, 0.6, 0.5))


def test_a_tensor_beyond_its_storage_has_no_values(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "w.pt")
    content = (tmp_path / "w.pt").read_bytes().replace(b"K\x03", b"K\x63")  # 99 in place of 3
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(InputError):
        sr.load_checkpoint(nn.Linear(99, 1, bias=False), tmp_path / "w.pt")


@attempt(
    "names of tensors with 300,000 dots or of megabytes, a million entries, thousands of dictionaries",
    "refused before a name is compared",
    promise="small",
)
def test_names_of_tensors(tmp_path):
    _hold("^pt.*(dots in a name|long names|many names|many dictionaries|dictionaries in)", tmp_path, (0.95,))


@attempt(
    "zip files with 600,000 entries, entries that overlap, ends that lie, sizes that lie",
    "refused by the length of their list of entries, or read without harm",
    promise="small",
)
def test_archives_that_lie(tmp_path):
    _hold("(entries of|end of a zip|sizes in a zip)", tmp_path, sizes=(1.0, 0.8, 0.5))


@attempt(
    "safetensors with a header of any claimed length, 300,000 tensors, overlapping ones, twins, nested metadata",
    "refused by the header's length, the count or the names",
    promise="small",
)
def test_headers_of_safetensors(tmp_path):
    _hold("^(safetensors|state|index)", tmp_path, sizes=(0.9,), least=10)


@attempt(
    "`1e-999999999`, `1/` and 300,000 digits, exponents of any size, in recipes and settings",
    "refused as a number of absurdly many digits, before it is one",
    promise="small",
)
def test_fractions(tmp_path):
    _hold("(fraction|numbers in settings|digits in settings)", tmp_path, sizes=(1.0, 0.9, 0.5, 0.3))
    for text in ("1e-999999999", "1e99999", "1/" + "7" * 5000, "1e-350", "1" * 5000):
        with pytest.raises(ValueError, match="number"):
            parse_fraction(text)
    assert parse_fraction("8/255") == 8 / 255 and parse_fraction("1e-3") == 0.001
    assert parse_fraction("a text") == "a text" and is_short_number("1e0308")


@attempt(
    "TOML and JSON nested 300,000 deep, keys of 200,000 dots, tables of 300,000 keys, whole numbers of 5,000"
    " digits",
    "refused by size, depth and count",
    promise="small",
)
def test_toml_and_json(tmp_path):
    _hold("^(recipe|config.json|names.txt)|nested settings|wide settings", tmp_path, sizes=(1.0,), least=8)
    for text in ("[" * 100_000, "[" * 70 + "]" * 70, "1" * 100, "[" + "1," * 200_000 + "1]"):
        with pytest.raises(ValueError, match=r"more than|beyond"):
            parse_json(text)


@attempt(
    "a `settings.json` with a width of 10^30, a depth of 10^9, images of a million pixels a side",
    "refused: one of ours is counted on the device meta, any other while it is built",
    promise="small",
)
def test_networks_of_any_size(tmp_path):
    _hold("network of any|large numbers in settings", tmp_path, sizes=(1.0, 0.6, 0.4, 0.3))


def test_a_network_is_built_as_it_was(tmp_path):
    from semirobust.experiments.model_spec import ModelSpec

    spec = ModelSpec("resnet8", 10, 3, 32, 0.25, None, None, {})
    counted, plain = (
        build_small(spec, tmp_path / "none", offline=True).state_dict(),
        spec.build().state_dict(),
    )
    assert all(torch.equal(counted[name], plain[name]) for name in plain)


@attempt(
    "records of 400 arms and 400 attacks, of layer 10^9, of 20,000 layers, epochs, levels, trials or curves",
    "found by an index; what has no room is left out, with a sentence, and what no network has is refused",
    promise="small",
)
def test_records_far_apart(tmp_path):
    _hold(
        "^records.*(arms and|attacks of|far away|layers|trials|levels|curves|transfers|shape)",
        tmp_path,
        (0.85,),
    )


@attempt(
    "300,000 records, one of 30 MB, pictures that unpack to gigabytes, an xz bomb",
    "refused by count and size; such pictures are left out of the report",
    promise="small",
)
def test_records_that_are_many_or_large(tmp_path):
    _hold("^records.*(: many$|one large|pictures|packed|dictionary|digits|nested|values)", tmp_path, (0.9,))


def test_what_a_report_leaves_out_is_said(tmp_path):
    line = '{"kind": "number", "name": "accuracy", "value": 0.5, "labels": {"arm": "a%d", "attack": "pgd"},'
    line += ' "origin": {"config": "c", "version": "v", "device": "d", "seed": "0"}}\n'
    (tmp_path / "r.jsonl").write_text("".join(line % i for i in range(BUDGET.arms + 30)))
    page = write_report([tmp_path / "r.jsonl"], tmp_path / "r.html").read_text()
    assert f"{BUDGET.arms} of {BUDGET.arms + 30} arms" in page
    assert len(read_records(tmp_path / "r.jsonl")) == BUDGET.arms + 30


@attempt(
    "an npz of 800 KB of 400 million one-pixel images, of shapes that lie, of values without bytes, of 5,000 arrays",
    "refused by what it would unpack to, by each header, and by the count of images",
    promise="small",
)
def test_npz(tmp_path):
    _hold("^npz", tmp_path, sizes=(0.9, 0.5), least=7)


@attempt(
    "idx and gzip of endless zeros, of 100,000 members, of 255 sizes; tar of members without end; CIFAR pickles",
    "refused by their header and what they would unpack to",
    promise="small",
)
def test_idx_and_tar(tmp_path):
    _hold("^(idx|tar|cifar.bin)", tmp_path, sizes=(0.8, 0.5), least=5)


@attempt(
    "pictures of 60,000 by 60,000 pixels in a few KB, a folder of them, chunks, strips and frames without end",
    "refused by pixels for each byte on disk; frames are not counted",
    promise="small",
)
def test_pictures(tmp_path):
    _hold("^(png|gif|tif|jpg|bmp|ppm)", tmp_path, sizes=(0.95,), least=12)


@attempt("thousands of classes of one byte each", "refused at the first that is no picture", promise="small")
def test_folders(tmp_path):
    _hold("^classes", tmp_path, sizes=(0.85,))


def test_large_files_are_read(tmp_path):
    """What is large in truth is no attack."""
    state = {f"layers.{i}.weight": torch.zeros(4, 4) for i in range(5000)}
    for new in (True, False):
        torch.save({"state_dict": state}, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
        from semirobust.core.tensor_files import read_tensors

        assert len(read_tensors(tmp_path / "w.pt")) == 5000
    check_pickles(b"\x80\x02(" + b"N" * (BUDGET.instructions - 10) + b"l.", 0)
    with pytest.raises(InputError, match="more instructions"):
        check_pickles(b"\x80\x02(" + b"N" * BUDGET.instructions + b"l.", 0)


def test_each_limit_has_its_reason():
    assert set(meanings(Budget)) == set(Budget.__dataclass_fields__)
