"""The bench of an accelerator in small, on the CPU, so that it works the first time that it meets one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What an image with PyTorch and NumPy does not have.
ABSENT = (
    *("pydantic", "pydantic_core", "lightning_fabric", "safetensors", "click", "rich", "matplotlib", "scipy"),
    *("sklearn", "PIL", "pooch", "lazy_loader", "pandas", "pyautoattack", "torchattacks", "foolbox"),
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Runs it where these packages cannot be imported; gives its records."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ABSENT:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name} here', name={name!r})\n")

    def run(*arguments: str) -> list[dict]:
        out = folder / f"{len(list(folder.glob('*.jsonl')))}.jsonl"
        command = [sys.executable, "-m", "benchmarks.gpu", "--small", "--device", "cpu", "--out", str(out)]
        path = os.pathsep.join([str(folder), str(ROOT / "src")])
        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in out.read_text().splitlines()]

    return run


def test_all_parts_work_without_a_device_or_another_package(bench):
    records = bench("--together")
    assert all(
        {"part", "what", "device", "driver", "torch", "cuda", "python"} <= set(each) for each in records
    )
    by_part: dict[str, list[dict]] = {}
    for each in records:
        by_part.setdefault(each["part"], []).append(each)
    assert set(by_part) == {
        *("machine", "prepare", "training", "pgd", "dependence", "usefulness", "processes", "autoattack")
    }
    left_out = {each["part"]: each["why"] for each in records if each["what"] == "left out"}
    assert set(left_out) == {"training", "autoattack"}  # memory is counted on an accelerator alone
    assert "needs pyautoattack" in left_out["autoattack"]
    (two,) = by_part["processes"]
    assert two["what"] == "two over gloo" and two["verdicts_equal"] == 1 and two["weights_apart"] == 0
    assert by_part["usefulness"][0]["values_apart"] < 1e-6
    steps = [each for each in by_part["training"] if "a step of PGD-AT-10" in each["what"]]
    assert steps[0]["seconds"] > 0 and steps[0]["images_are"].startswith("made up, seed 0")
    assert [each["what"] for each in by_part["autoattack"]] == ["ours", "left out"]


def test_each_part_is_a_process_and_what_does_not_fit_is_said(bench):
    alone = bench("prepare")
    assert [each["part"] for each in alone] == ["machine", "prepare", "machine"]
    assert "loss_nats" in alone[1]
    late = bench("--seconds", "1")
    assert [each["why"] for each in late[1:-1]] == ["1 s were over"] * 7
