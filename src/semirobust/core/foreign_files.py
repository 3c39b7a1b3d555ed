"""Files that are no checkpoint of PyTorch, told by their first bytes, with what to do about each."""

import zipfile
from pathlib import Path

from semirobust.core.archives import has_too_many, is_zip
from semirobust.core.errors import InputError
from semirobust.core.files import opened

__all__ = ["WEIGHTS", "broken", "check_is_file", "recognised"]

_TO_PYTORCH = "bring its weights to PyTorch and write them by torch.save(model.state_dict(), 'weights.pt')"
# What a file begins with, and what it is.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS in place of the weights; git lfs pull brings them"),
    (b"\x89HDF\r\n", f"an HDF5 file, as Keras writes; {_TO_PYTORCH}"),
    (b"\x93NUMPY", f"a NumPy array; {_TO_PYTORCH}"),
    (b"GGUF", f"a GGUF file, as llama.cpp reads; {_TO_PYTORCH}"),
    (b"\x1f\x8b", "a file packed by gzip; unpack it first"),
    (b"BZh", "a file packed by bzip2; unpack it first"),
    (b"\xfd7zXZ", "a file packed by xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a file packed by zstd; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x89PNG", "a picture; the weights are another file"),
    (b"\xff\xd8\xff", "a picture; the weights are another file"),
    (b"%PDF", "a PDF; the weights are another file"),
)
_SUFFIXES = {
    ".onnx": f"an ONNX file; {_TO_PYTORCH}",
    ".pb": f"a file of TensorFlow; {_TO_PYTORCH}",
    ".tflite": f"a file of TensorFlow Lite; {_TO_PYTORCH}",
    ".msgpack": f"a MessagePack file, as Flax and JAX write; {_TO_PYTORCH}",
    ".index": f"the index of a TensorFlow checkpoint; {_TO_PYTORCH}",
    ".params": f"a file of MXNet; {_TO_PYTORCH}",
    ".pdparams": f"a file of PaddlePaddle; {_TO_PYTORCH}",
}
WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".th", ".tar")
_PRINTABLE = {*range(32, 127), *b"\t\r\n"}
_TEXT = b"<!doctype", b"<html", b"<?xml"


def check_is_file(path: Path) -> None:
    """Raise ``InputError`` for a place where no file, a folder, an empty or a locked file lies, or a link or
    device. Behind it libraries that take no open file may be given the path.
    """
    try:
        _check_is_file(path)
    except OSError as error:
        raise InputError(f"checkpoint: {path} cannot be opened ({error.strerror})") from None


def _check_is_file(path: Path) -> None:
    if str(path).startswith(("http:", "https:", "hf:", "s3:")):
        raise InputError(f"checkpoint: expected a file, got the address {path}; fetch it first")
    if path.is_dir():
        inside = sorted(e.name for e in path.iterdir() if e.suffix in WEIGHTS or ".index.json" in e.name)
        inside = [name for name in inside if ".index.json" in name] or inside
        found = f"; it holds {', '.join(inside[:5])}" if inside else ""
        if (path / "saved_model.pb").exists():
            found = f" of TensorFlow; {_TO_PYTORCH}"
        if (path / ".metadata").exists():
            found = (
                " of a distributed checkpoint; torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
                " makes one file of it"
            )
        raise InputError(f"checkpoint: expected a file at {path}, found a folder{found}")
    try:
        with opened(path) as file:
            if not file.seek(0, 2):
                raise InputError(
                    f"{path.name}: expected weights, got an empty file; was it saved or copied whole?"
                )
    except FileNotFoundError:
        raise InputError(f"checkpoint: expected a file at {path}, found none") from None


def recognised(path: Path) -> str | None:
    """What a file of another kind is, as a sentence without its subject; None where nothing says so."""
    with opened(path) as file:
        head = file.read(512)
    kind = next((text for beginning, text in _BEGINNINGS if head.startswith(beginning)), None)
    if kind is None and head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_TEXT):
        kind = "a web page in place of the weights; the address leads to a page about the file, not to it"
    if kind is None and head[257:262] == b"ustar":
        kind = "a tar archive; unpack it first"
    if kind is None and head[4:8] == b"TFL3":
        kind = _SUFFIXES[".tflite"]
    if kind is None and head.startswith(b"\x08") and (b"pytorch" in head[:64] or b"onnx" in head[:64]):
        kind = _SUFFIXES[".onnx"]
    if kind is None and b"\xa6params" in head[:64] and 0x80 < head[0] <= 0x8F:
        kind = _SUFFIXES[".msgpack"]
    if kind is None and ".data-0" in path.name:
        kind = f"a part of a TensorFlow checkpoint; {_TO_PYTORCH}"
    if kind is None and is_zip(path):
        kind = _archive(path)
    kind = kind or _SUFFIXES.get(path.suffix)
    return None if kind is None else f"expected a PyTorch state dict or safetensors, got {kind}"


def _archive(path: Path) -> str | None:
    """What a zip archive is that torch.save did not write."""
    if has_too_many(path):
        return None
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):  # damaged, as its reader will say
        return None
    last = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in last:
        return (
            f"a TorchScript program; torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pt') in"
            " Python makes a state dict of it"
        )
    if "archive_format" in last or "serialized_exported_program.json" in last:
        return (
            f"an exported program; torch.save(torch.export.load({path.name!r}).state_dict, 'weights.pt') in"
            " Python makes a state dict of it"
        )
    if "model.weights.h5" in last:
        return f"a file of Keras; {_TO_PYTORCH}"
    if names and all(name.endswith(".npy") for name in names):
        return f"an archive of NumPy arrays; {_TO_PYTORCH}"
    if "data.pkl" not in last:
        shown = ", ".join(names[:3]) or "nothing"
        return f"an archive with {shown} in it; unpack it first"
    return None


def broken(path: Path, error: Exception) -> str:
    """What is said of a file that should be one of PyTorch and cannot be read."""
    with opened(path) as file:
        head = file.read(64)
    if head.startswith(b"PK") and not is_zip(path):
        return (
            f"expected a PyTorch state dict, got a file that ends early (after {path.stat().st_size:,}"
            " bytes); fetch or copy it again"
        )
    if not set(head) - _PRINTABLE:
        return "expected a PyTorch state dict or safetensors, got a text file; the weights are another file"
    return (
        "expected a PyTorch state dict of plain tensors, got a file that is damaged or of another kind"
        f" ({type(error).__name__}); nothing was run"
    )
