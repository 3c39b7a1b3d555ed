"""Make an environment with other people's networks: ``python -m stress.zoo.install FOLDER``.

It holds what the project needs, timm, torchvision, transformers, peft, RobustBench's architectures and what
runs the tests, but not the project itself: put its ``src`` on ``PYTHONPATH``.
"""

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TORCH = "torch==2.13.0"
"""The version of ``constraints.txt``."""

FOREIGN = [
    "torchvision==0.28.0",  # the one made for the torch of constraints.txt
    "timm==1.0.31",
    "transformers>=4.57",
    "peft>=0.17",
    "lightning>=2.6.4",
    "torch-pruning>=1.6,<2",
    "einops",
    "sentencepiece",
    "pytest>=8",
    "pytest-xdist>=3.5",
    "hypothesis>=6.100",
    "psutil",
]
ALONE = ["robustbench==1.1.1"]
"""Installed without what they ask for: only the architectures in them are wanted."""

STARTUP = '''"""Lets torchvision be imported where its compiled part does not load."""

import importlib.abc
import importlib.machinery
import sys


class BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Declares torchvision's operators the moment that torchvision is imported, and not before."""

    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is not None and found.submodule_search_locations:
            declare(found.submodule_search_locations[0])
        return found


def declare(folder):
    import pathlib

    import torch

    for library in pathlib.Path(folder).glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
            return
        except OSError:
            pass  # built for CUDA, and there is none: declare what the import asks for
    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch._torchvision_operators = fragment  # they live as long as this object


sys.meta_path.insert(0, BeforeTorchvision())
'''


def install(folder: Path) -> Path:
    """Install everything into an environment in ``folder`` and give its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), *own, *FOREIGN, "setuptools<81"], check=True)
    subprocess.run([*pip, "--no-deps", *ALONE], check=True)
    packages = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(packages) / "sitecustomize.py").write_text(STARTUP)
    return python


if __name__ == "__main__":
    print(install(Path(sys.argv[1])))
