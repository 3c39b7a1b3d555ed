"""What a file may cost: every limit of every reader, with its reason, and the checks that they share.

A reader checks before it works. The limits are against small and lying files: what a large file holds in
truth is read, so most of them grow with the bytes on disk.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semirobust.core.errors import InputError
from semirobust.core.files import read_text

__all__ = [
    "BUDGET",
    "Budget",
    "check_count",
    "check_name",
    "check_nested",
    "check_size",
    "is_short_number",
    "most_instructions",
    "parse_json",
    "read_json",
]

MIB = 1 << 20


@dataclass(frozen=True)
class Budget:
    """The limits, in bytes where nothing else is said.

    Attributes:
        seconds: processor time in which a file is read or refused, in seconds: what the fuzzers hold every
            reader to, with the start of the process.
        memory: what a reader may take at its peak, above what the process has before.
        unpacked: what a compressed file of data may unpack to, whatever its size.
        unpacked_ratio: or so many times its own size, since few pictures pack better.
        tar_unpacked: what an archive of a data set may unpack to; it is written to the disk and not held.
        tar_ratio: or so many times its own size.
        tar_entries: entries of such an archive; those that are known have under ten.
        text_unpacked: what compressed records may unpack to, whatever their size.
        text_ratio: or so many times their own size, since lines of one kind pack well.
        lzma_memory: what unpacking xz may take.
        zip_directory: the list of entries of a zip file, which is read as a whole; a hundred thousand entries
            fit.
        zip_entries: entries of a zip file; PyTorch writes one for each tensor.
        npz_entries: arrays in an npz file, each of which has a header that is read.
        images: images in one file, whatever its size, since each has a label and a place in the order.
        bytes_per_image: beyond that each image needs so many bytes on disk.
        pickle: the pickle of a zip checkpoint, which holds names and shapes and no values.
        pickle_ratio: how far that pickle may be compressed; PyTorch does not compress.
        pickle_small: a pickle that may be compressed further.
        instructions: of all pickles in a file; a tensor takes about forty.
        bytes_per_instruction: beyond that each instruction needs so many bytes on disk.
        pickle_name: characters of the name of a class in a pickle; PyTorch's have under 60.
        pickle_nesting: dictionaries and lists within each other that are looked into.
        pickles: in one file; those from before PyTorch 1.6 hold five.
        header: the header of a safetensors file, with its metadata.
        tensors: named tensors in a file; large networks have three thousand.
        parts: files that an index of a checkpoint names.
        rebuilt: tensors that a pickle builds, those of an optimizer among them.
        name: characters of the name of a tensor.
        name_parts: parts between dots of such a name, since networks nest less.
        dictionaries: dictionaries and lists of a checkpoint that are searched for weights.
        tensor_bytes: what the tensors of a file may come to, whatever its size.
        tensor_ratio: or so many times the file, since tensors may share values and repeat them.
        digits: of a number in text.
        exponent: of a number in text, either way; a float ends at 308.
        integer: the largest whole number in a setting.
        toml: a recipe.
        toml_line: characters of punctuation in a line of a recipe; the time that Python's reader takes grows
            with their square.
        json: a file of JSON: settings, configurations, indices.
        nesting: tables and lists within each other, in JSON and TOML.
        settings: values in a file of settings.
        model_bytes: the weights of a network that a file of settings describes, whatever lies beside it.
        model_ratio: or so many times the file of its weights; pruning makes them smaller.
        modules: of such a network.
        records: in a file or a run folder.
        record: one record, with its picture.
        record_bytes: a file of records.
        layer: the largest index of a layer, level, epoch, seed or trial in a record.
        arms: that a table or figure of a report shows.
        columns: attacks, radii or models that a table or figure of a report shows.
        layers_drawn: layers that a figure of a report shows.
        radii: radii of balls and levels of pruning that a figure of a report shows.
        columns_drawn: layers of all profiles of a report together.
        cells: layers times epochs, or trials times epochs, that a figure of a report shows.
        picture_pixels: of a picture in a record, which whatever shows the report unpacks.
        drawn: points, pictures and sentences of one kind that a report shows.
        page: the settings that a report prints, in characters.
        files: pictures in a folder.
        classes: folders of classes.
        pixels: of one picture, whatever its bytes.
        pixels_per_byte: or so many pixels for each byte on disk, of a picture and of a folder of them;
            photographs have 2 to 10, drawings 20.
        folder_pixels: of the pictures of a folder, whatever their bytes.
        large_picture: pixels above which pictures are decoded one at a time.
        picture: a picture on disk.
        tiles: strips or tiles of a picture.
        image_size: the side to which pictures are brought.
        data_bytes: an array of a data set.
    """

    seconds: int = 5
    memory: int = 1 << 30
    unpacked: int = 128 * MIB
    unpacked_ratio: int = 20
    tar_unpacked: int = 1 << 30
    tar_ratio: int = 100
    tar_entries: int = 1_000
    text_unpacked: int = 64 * MIB
    text_ratio: int = 100
    lzma_memory: int = 256 * MIB
    zip_directory: int = 12 * MIB
    zip_entries: int = 100_000
    npz_entries: int = 1_000
    images: int = 1_000_000
    bytes_per_image: int = 4
    pickle: int = 64 * MIB
    pickle_ratio: int = 10
    pickle_small: int = 4 * MIB
    instructions: int = 1_000_000
    bytes_per_instruction: int = 100
    pickle_name: int = 300
    pickle_nesting: int = 30
    pickles: int = 5
    header: int = 24 * MIB
    tensors: int = 20_000
    rebuilt: int = 100_000
    parts: int = 1_000
    name: int = 1_000
    name_parts: int = 64
    dictionaries: int = 1_000
    tensor_bytes: int = 256 * MIB
    tensor_ratio: int = 4
    digits: int = 400
    exponent: int = 400
    integer: int = (1 << 64) - 1
    toml: int = MIB // 4
    toml_line: int = 2_000
    json: int = 10_000_000
    nesting: int = 64
    settings: int = 100_000
    model_bytes: int = 256 * MIB
    model_ratio: int = 100
    modules: int = 5_000
    records: int = 40_000
    record: int = 4 * MIB
    record_bytes: int = 64 * MIB
    layer: int = 100_000
    arms: int = 120
    columns: int = 40
    layers_drawn: int = 1_000
    radii: int = 100
    columns_drawn: int = 4_000
    cells: int = 400_000
    picture_pixels: int = 16_000_000
    drawn: int = 1_000
    page: int = 200_000
    files: int = 20_000_000
    classes: int = 100_000
    pixels: int = 25_000_000
    pixels_per_byte: int = 20
    folder_pixels: int = 200_000_000
    large_picture: int = 4_000_000
    picture: int = 256 * MIB
    tiles: int = 100_000
    image_size: int = 4_096
    data_bytes: int = 1 << 31


BUDGET = Budget()
"""The limits that hold."""


def check_size(path: Path, size: int, *, least: int | None = None, ratio: int | None = None) -> None:
    """Raise ``InputError`` where ``size`` unpacked bytes are far too many for the file at ``path``.

    Black pixels pack well, but gigabytes of them in a few megabytes are an attack on the machine.

    Args:
        least: bytes that any file may unpack to.
        ratio: or so many times its own size.
    """
    least = BUDGET.unpacked if least is None else least
    ratio = BUDGET.unpacked_ratio if ratio is None else ratio
    packed = path.stat().st_size
    if size > max(least, ratio * packed):
        raise InputError(
            f"{path.name}: would unpack {packed:,} bytes to {size:,}; it was not read; if it is your own,"
            " write it without compression"
        )


def most_instructions(size: int) -> int:
    """How many instructions the pickles of a file of ``size`` bytes may have together."""
    return max(BUDGET.instructions, size // BUDGET.bytes_per_instruction)


def check_count(name: str, what: str, count: int, most: int) -> None:
    """Raise ``InputError`` where a file has more of something than its reader takes up."""
    if count > most:
        raise InputError(f"{name}: expected at most {most:,} {what}, got {count:,}; it was not read")


def check_name(file: str, name: str) -> None:
    """Raise ``InputError`` for a name of a tensor that no network has."""
    if len(name) > BUDGET.name or name.count(".") >= BUDGET.name_parts:
        raise InputError(
            f"{file}: expected names of tensors of at most {BUDGET.name:,} characters and"
            f" {BUDGET.name_parts} parts, got one of {len(name):,} and {name.count('.') + 1:,},"
            f" {name[:40]!r} ...; it was not read"
        )


def is_short_number(text: str) -> bool:
    """Whether a number in text, or a fraction of two, has no more digits and no larger exponent than a float
    can need; of other text it says nothing.
    """
    if len(text) > 2 * BUDGET.digits:
        return False
    exponents = re.findall(r"[eE][+-]?(\w*)", text)
    return not any(len(each.lstrip("0_")) > 3 or _number(each) > BUDGET.exponent for each in exponents)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def check_nested(content: Any, *, most: int | None = None) -> None:
    """Raise ``ValueError`` where values in dictionaries and lists are nested too deeply, too many, or whole
    numbers beyond 64 bits.
    """
    left, count = [(content, 0)], 0
    while left:
        value, depth = left.pop()
        count += 1
        if depth > BUDGET.nesting:
            raise ValueError(f"more than {BUDGET.nesting} tables and lists within each other")
        if count > (BUDGET.settings if most is None else most):
            raise ValueError(f"more than {BUDGET.settings if most is None else most:,} values")
        if type(value) is int and abs(value) > BUDGET.integer:
            raise ValueError(f"a whole number beyond {BUDGET.integer:,}")
        if isinstance(value, dict):
            left += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list):
            left += [(each, depth + 1) for each in value]


def read_json(path: Path) -> Any:
    """What a file of JSON says.

    Raises:
        OSError: it cannot be opened.
        ValueError: as in :func:`parse_json`, or it is no UTF-8.
    """
    return parse_json(read_text(path, most=BUDGET.json))


def parse_json(text: str | bytes, *, most: int | None = None, longest: int | None = None) -> Any:
    """What JSON says; ``most`` is how many values it may hold, ``longest`` how many bytes.

    Raises:
        ValueError: it is none, is too long, too deep or holds too many values.
    """
    longest = BUDGET.json if longest is None else longest
    if len(text) > longest:
        raise ValueError(f"more than {longest:,} bytes")
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError(f"more than {BUDGET.nesting} tables and lists within each other") from None
    check_nested(content, most=most)
    return content
