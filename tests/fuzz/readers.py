"""Everything that reads a file: a good one to begin with, and the call that reads it.

A reader gets a folder of its own with the file in it, and may raise ``InputError`` alone. What it makes of
the file does not matter here."""

import gzip
import io
import json
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import semirobust as sr
from semirobust.core.tensor_files import read_checked, read_tensors, write_tensors
from semirobust.data.base.locate import unpack
from semirobust.data.cifar import read_binary, read_python
from semirobust.data.idx import read_idx
from semirobust.experiments.class_names import given_names, names_beside
from semirobust.experiments.folder import save_run
from semirobust.experiments.model_spec import spec_for
from semirobust.experiments.queue.worker import _read
from semirobust.experiments.recipe import read_recipe
from semirobust.experiments.subject import build_subject
from semirobust.records.export import write_csv
from semirobust.records.schema import (
    About,
    Finding,
    LayerEntry,
    Number,
    Origin,
    Picture,
    Quantity,
    Settings,
    Topic,
)
from semirobust.records.store import read_records, write_records
from semirobust.reports.page import write_report
from semirobust.training.state import TrainState
from semirobust.training.state_file import read_state, write_state

__all__ = ["READERS", "Reader"]

_AT = Origin(config="0", version="0", device="cpu", seed="0")


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        name: of the file in its folder.
        make: writes a good folder.
        read: reads it.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]


def _recipe(folder: Path) -> None:
    (folder / "r.toml").write_text(
        'seed = 1\nrecipe = "trades"\n[data]\nsource = "cifar10"\nvalidation = 0.1\n[threat]\nepsilon = "8/255"\n[train]\nepochs = 3\n'
        'attack_options = { step_size = 0.01 }\n[evaluate]\nattacks = ["fgsm", "pgd-20"]\nsweep = [0, "2/255"]\n'
    )


def _npz(folder: Path) -> None:
    x = np.arange(12 * 16, dtype=np.uint8).reshape(12, 1, 4, 4)
    np.savez(folder / "d.npz", x_train=x[:8], y_train=np.arange(8) % 3, x_test=x[8:], y_test=np.arange(4) % 3)


def _npz_packed(folder: Path) -> None:
    np.savez_compressed(folder / "d.npz", x=np.zeros((10, 4, 4), np.float32), y=np.arange(10) % 2)


def _idx(folder: Path) -> None:
    (folder / "a.idx").write_bytes(b"\0\0\x08\x03" + np.array([4, 3, 3], ">u4").tobytes() + bytes(range(36)))


def _idx_gz(folder: Path) -> None:
    _idx(folder)
    (folder / "a.gz").write_bytes(gzip.compress((folder / "a.idx").read_bytes()))
    (folder / "a.idx").unlink()


def _cifar(folder: Path) -> None:
    (folder / "b.bin").write_bytes(b"".join(bytes([i]) + bytes(3072) for i in range(3)))


def _cifar_python(folder: Path) -> None:
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
    (folder / "b").write_bytes(pickle.dumps(batch, protocol=2))


def _picture(kind: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in ("a", "b"):
            (folder / name).mkdir()
            pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
            for i in range(3):
                Image.fromarray(pixels).save(folder / name / f"{i}.{kind}")

    return make


def _pictures(folder: Path) -> object:
    return sr.load_data(str(folder), image_size=8).train.all()


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))


def _safetensors(folder: Path) -> None:
    write_tensors(folder / "m.safetensors", _model().state_dict(), {"stage": "train"})


def _pt(folder: Path) -> None:
    torch.save({"state_dict": _model().state_dict(), "epoch": 3}, folder / "m.pt")


def _pt_old(folder: Path) -> None:
    torch.save(_model().state_dict(), folder / "m.pth", _use_new_zipfile_serialization=False)


def _load(name: str) -> Callable[[Path], object]:
    return lambda folder: sr.load_checkpoint(_model(), folder / name)


def _run(folder: Path) -> None:
    recipe = read_recipe(None, {"model.name": "resnet8", "model.width": 0.125})
    spec = spec_for(recipe.model, sr.load_data("digits"))
    save_run(folder, spec.build(0), spec, recipe, "train")


def _subject(folder: Path) -> object:
    return build_subject(str(folder), None, None, None, {})


def _records(folder: Path, name: str = "records/3.jsonl") -> None:
    numbers = [
        Number(
            quantity=Quantity.ACCURACY,
            value=0.5,
            low=0.4,
            high=0.6,
            n=100,
            about=About(attack=a, threat="Linf"),
            origin=_AT,
        )
        for a in ("clean", "pgd-10")
    ]
    layers = [
        Number(
            quantity=Quantity.MEASURE,
            value=1.5,
            about=About(measure="criticality", layer=i),
            origin=_AT,
        )
        for i in (1, 2)
    ]
    entries = [
        LayerEntry(
            index=i, name=f"conv{i}", type="Conv2d", shape=(3, 4, 4), parameters=9, block="b", origin=_AT
        )
        for i in (1, 2)
    ]
    picture = Picture(png="iVBORw0KGgo=", caption="3 → 5", origin=_AT)
    finding = Finding(topic=Topic.NOTE, text="all is well", origin=_AT)
    settings = Settings(stage="evaluate", settings={"seed": 0}, origin=_AT)
    write_records(folder / name, [settings, *numbers, *layers, *entries, picture, finding])


def _report(folder: Path) -> object:
    write_report([folder], folder / "r.html")
    return (folder / "r.html").unlink()


def _state(folder: Path) -> None:
    model = _model().state_dict()
    write_state(
        folder / "s.safetensors", TrainState(epoch=1), {"model": model, "best": model, "momentum": {}}, "k"
    )


def _archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("x", "y"):
            buffer = io.BytesIO()
            np.save(buffer, np.zeros((6, 1, 2, 2), np.uint8) if name == "x" else np.arange(6))
            archive.writestr(f"{name}.npy", buffer.getvalue())


def _tar(folder: Path) -> None:
    with tarfile.open(folder / "d.tar.gz", "w:gz") as tar:
        for name in ("cifar/a", "cifar/b"):
            entry = tarfile.TarInfo(name)
            entry.size = 300
            tar.addfile(entry, io.BytesIO(bytes(range(100)) * 3))


def _unpack(folder: Path) -> None:
    """Whatever the archive says lands in its own folder, which is then emptied."""
    inside = folder / "inside"
    inside.mkdir()
    try:
        unpack(folder / "d.tar.gz", inside)
    finally:
        shutil.rmtree(inside)


def _index(folder: Path) -> None:
    _safetensors(folder)
    (folder / "m.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"1.weight": "m.safetensors", "1.bias": "m.safetensors"}})
    )


def _config(folder: Path) -> None:
    _safetensors(folder)
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "cat", "1": "dog"}}))


def _old_records(folder: Path) -> None:
    at = {"config": "c", "version": "v", "device": "d", "seed": "0"}
    names = ("accuracy", "layer.criticality", "features.robust.mean", "train.loss", "recover.best")
    lines = [
        {
            "kind": "number",
            "name": n,
            "value": 0.5,
            "labels": {"arm": "a, seed 1", "attack": "+ pgd"},
            "origin": at,
        }
        for n in names
    ]
    lines.append({"kind": "finding", "name": "check.sum", "text": "well", "origin": at})
    (folder / "records").mkdir()
    (folder / "records/1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _exported(folder: Path) -> object:
    count = write_csv(folder / "r.csv", read_records(folder / "records/1.jsonl"))
    (folder / "r.csv").unlink()
    return count


def _level(folder: Path) -> None:
    write_tensors(folder / "level.safetensors", {"best/a": torch.zeros(3)}, {"number": 1})


def _failed(folder: Path) -> None:
    (folder / "failed.json").write_text(json.dumps({"key": "a", "launch": "b", "tries": 1, "error": "c"}))


READERS: dict[str, Reader] = {
    "recipe": Reader("r.toml", _recipe, lambda folder: read_recipe(folder / "r.toml")),
    "npz": Reader("d.npz", _npz, lambda folder: sr.load_data(str(folder / "d.npz"))),
    "npz, packed": Reader("d.npz", _npz_packed, lambda folder: sr.load_data(str(folder / "d.npz"))),
    "npz, two": Reader("d.npz", _archive, lambda folder: sr.load_data(str(folder / "d.npz"))),
    "tar.gz": Reader("d.tar.gz", _tar, _unpack),
    "idx": Reader("a.idx", _idx, lambda folder: read_idx(folder / "a.idx")),
    "idx.gz": Reader("a.gz", _idx_gz, lambda folder: read_idx(folder / "a.gz")),
    "cifar.bin": Reader("b.bin", _cifar, lambda folder: read_binary(folder / "b.bin", tuple("0123456789"))),
    "cifar pickle": Reader("b", _cifar_python, lambda folder: read_python(folder / "b", tuple("0123456789"))),
    "png": Reader("a/1.png", _picture("png"), _pictures),
    "jpg": Reader("b/0.jpg", _picture("jpg"), _pictures),
    "gif": Reader("b/0.gif", _picture("gif"), _pictures),
    "tif": Reader("b/0.tif", _picture("tif"), _pictures),
    "safetensors": Reader("m.safetensors", _safetensors, _load("m.safetensors")),
    "pt": Reader("m.pt", _pt, _load("m.pt")),
    "pt, old": Reader("m.pth", _pt_old, _load("m.pth")),
    "tensors": Reader("m.pt", _pt, lambda folder: read_tensors(folder / "m.pt")),
    "settings.json": Reader("settings.json", _run, _subject),
    "run's weights": Reader("model.safetensors", _run, _subject),
    "records": Reader("records/3.jsonl", _records, _report),
    "records.xz": Reader(
        "r.jsonl.xz",
        lambda folder: _records(folder, "r.jsonl.xz"),
        lambda folder: read_records(folder / "r.jsonl.xz"),
    ),
    "state": Reader("s.safetensors", _state, lambda folder: read_state(folder / "s.safetensors", "k")),
    "index": Reader("m.safetensors.index.json", _index, _load("m.safetensors.index.json")),
    "config.json": Reader(
        "config.json",
        _config,
        lambda folder: (names_beside(folder / "m.safetensors"), given_names([str(folder / "config.json")])),
    ),
    "names.txt": Reader(
        "names.txt",
        lambda folder: (folder / "names.txt").write_text("cat\nn01440764 tench, Tinca tinca\n"),
        lambda folder: given_names([str(folder / "names.txt")]),
    ),
    "bmp": Reader("b/0.bmp", _picture("bmp"), _pictures),
    "ppm": Reader("b/0.ppm", _picture("ppm"), _pictures),
    "webp": Reader("b/0.webp", _picture("webp"), _pictures),
    "classes": Reader("a/0.png", _picture("png"), _pictures),
    "old records": Reader("records/1.jsonl", _old_records, _report),
    "records to csv": Reader("records/1.jsonl", _old_records, _exported),
    "level": Reader("level.safetensors", _level, lambda folder: read_checked(folder / "level.safetensors")),
    "failed.json": Reader("failed.json", _failed, lambda folder: _read(folder / "failed.json")),
}
