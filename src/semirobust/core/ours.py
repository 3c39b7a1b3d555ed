"""Whether a file was made by this project, so that a command may replace it."""

from pathlib import Path

from semirobust.core.errors import InputError
from semirobust.core.files import check_place, forget_unfinished, opened, write_atomically
from semirobust.core.links import given_out

__all__ = ["GENERATOR", "ONNX_PRODUCER", "PROGRAM", "check_ours", "write_out"]

GENERATOR = '<meta name="generator" content="semirobust">'
"""What our pages have in their head."""

PROGRAM = "semirobust"
"""The extra file in our exported programs."""

ONNX_PRODUCER = "semirobust"
"""The producer in our ONNX files, which stands in their first bytes."""

_HEAD, _TAIL = 1024, 1 << 16  # bytes
_TABLES = (b"quantity,value,", b"network,run,data,", b"% written by semirobust;")
_TENSORS = b'{"__metadata__":{"semirobust":'


def check_ours(path: Path, *, begins: bytes | None = None) -> None:
    """Raise ``InputError`` where a file lies at ``path`` that this project has not made, or anything else
    that is no plain file. An empty file may be anybody's.

    Args:
        begins: the first line of what is to replace it; a file with the same is an older one of its kind.
    """
    state = check_place(path)
    if state is None or not state.st_size:
        return
    with opened(path) as file:
        head = file.read(_HEAD)
        file.seek(max(0, state.st_size - _TAIL))
        tail = file.read()
    ours = (
        GENERATOR.encode() in head
        or head.startswith(_TABLES)
        or head[8:].startswith(_TENSORS)
        or (head[:1] == b"\x08" and f"\x12\n{ONNX_PRODUCER}".encode() in head[:16])
        or (head.startswith(b"PK") and f"extra/{PROGRAM}".encode() in tail)
        or (begins is not None and head.startswith(begins))
    )
    if not ours:
        raise InputError(
            f"out: {path} exists and was not made by semirobust; choose another name or delete it"
        )


def write_out(path: Path, content: bytes, *, alike: bool = False) -> Path:
    """Write a file that the user has named, in place of one of ours alone; gives its place.

    Args:
        alike: whether a file with the same first line is ours.

    Raises:
        InputError: something else lies there.
        OSError: it cannot be written.
    """
    path = given_out(path)
    check_ours(path, begins=content.partition(b"\n")[0][:_HEAD] if alike else None)
    forget_unfinished(path)
    write_atomically(path, content)
    return path
