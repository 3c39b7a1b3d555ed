"""One process against two: ``python -m stress.processes`` trains, evaluates, profiles and hardens with
both and compares.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

import semirobust as sr
from semirobust.core.tensor_files import read_tensors
from semirobust.training.trainable import Fixed

__all__ = ["main"]

_SMALL = [
    "--data",
    "digits",
    "--eps",
    "0.1",
    "--width",
    "0.25",
    "--set",
    "model.name=resnet8",
    "--set",
    "data.train=600",
]
_TRAIN = ["train", *_SMALL, "--attack", "pgd-3", "--epochs", "3", "--set", "train.batch_size=40"]
_HARDEN = [
    "--method",
    "clat",
    "--epochs",
    "3",
    "--set",
    "harden.attack=pgd-3",
    "--set",
    "harden.batch_size=40",
]
_JUDGE = {
    "evaluate": [
        "evaluate",
        "--attacks",
        "fgsm,pgd-20x2,apgd,square",
        "--examples",
        "600",
        "--set",
        "evaluate.pictures=0",
    ],
    "profile": ["profile", "--measures", "criticality,gradient-norm,weight-criticality", "--examples", "600"],
}


def main() -> None:
    """Differences between one process and two, and the bytes that are sent for chosen layers."""
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        found = {
            devices: _call([*_TRAIN, "--out", str(home / f"train{devices}")], devices) for devices in (1, 2)
        }
        losses = [[epoch["loss"] for epoch in found[d]["epochs"]] for d in (1, 2)]
        apart = max(abs(a - b) / a for a, b in zip(*losses, strict=True))
        weights = [read_tensors(home / f"train{d}/last.safetensors") for d in (1, 2)]
        moved = max(
            float((weights[0][n] - weights[1][n]).abs().max())
            for n in weights[0]
            if weights[0][n].is_floating_point()
        )
        print(f"train      losses of epochs {100 * apart:.2f} % apart at most, weights {moved:.4f}")
        for stage, (command, *more) in _JUDGE.items():
            one, two = (
                _call([command, str(home / "train1"), *more, "--out", str(home / f"{stage}{d}")], d)
                for d in (1, 2)
            )
            for said in (one, two):
                said.pop("out", None)
            print(
                f"{stage:10} {'equal' if one == two else 'DIFFER'}: {len(json.dumps(one))} characters of JSON"
            )
        gained = []
        for d in (1, 2):
            given = ["--from", str(home / "train1"), *_HARDEN, "--attacks", "pgd-10", "--examples", "600"]
            accuracy = _call(["harden", *given, "--out", str(home / f"harden{d}")], d)["accuracy"]["clat"]
            gained.append(accuracy["pgd-10"]["value"])
        print(f"harden     accuracy under PGD-10: {gained[0]:.1%} and {gained[1]:.1%}")
    _bytes()


def _call(arguments: list[str], devices: int) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "semirobust",
        *arguments,
        "--device",
        "cpu",
        "--threads",
        "1",
        "--devices",
        str(devices),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class _Counting(Fabric):
    """Two processes in word: it counts what would be sent and sends nothing."""

    sent = 0

    @property
    def world_size(self) -> int:
        return 2

    def all_reduce(self, data: Tensor, group: object = None, reduce_op: object = "mean") -> Tensor:  # type: ignore[override]
        self.sent += data.numel() * data.element_size()
        return data


def _bytes() -> None:
    """What a step sends when some layers train, against what it sends when all do."""
    images = sr.load_data("digits").train.first(80)
    sent, shares = {}, {}
    for name, layers in (("all", None), ("7", [7]), ("1, 2", [1, 2])):
        torch.manual_seed(0)
        model = sr.build_model("resnet8", 10, 0.25, in_channels=1, image_size=8)
        fabric = _Counting(accelerator="cpu", devices=1)
        options = {} if layers is None else {"trainable": Fixed(layers)}
        training = sr.Training(
            objective=sr.Adversarial(), attack=sr.FGSM(sr.Linf(0.1)), epochs=1, batch_size=40, **options
        )
        logs = training(model, images, fabric=fabric).logs
        sent[name], shares[name] = fabric.sent, logs[0].trained_parameters
    for name in sent:
        print(
            f"layers {name:6} {sent[name]:,} bytes in 2 steps, {100 * sent[name] / sent['all']:.1f} % of all;"
            f" parameters {100 * shares[name] / shares['all']:.1f} %"
        )


if __name__ == "__main__":
    main()
