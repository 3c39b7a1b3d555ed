"""Which code, settings and machine a number comes from."""

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semirobust.records.schema import Origin

__all__ = ["code_version", "config_hash", "device_name", "origin"]


def config_hash(settings: Mapping[str, object]) -> str:
    """Twelve hex digits of the SHA-256 of the settings in canonical JSON."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def code_version() -> str:
    """The installed version, with commit (and ``+`` for local changes) where the package runs from a checkout
    of its own.
    """
    try:
        version = importlib.metadata.version("semirobust")
    except importlib.metadata.PackageNotFoundError:  # found on PYTHONPATH, and not installed
        version = "not installed"
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return version
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    changed = "+" if _git(root, "status", "--porcelain", "--", "src") else ""
    return f"{version} ({commit}{changed})" if commit else version


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return name


def device_name(accelerator: str = "", threads: int = 0) -> str:
    """The GPU where one is named, else the processor, with the threads where they are given."""
    with_ = f", {threads} thread{'s' * (threads != 1)}" if threads else ""
    return accelerator or f"{_processor()}{with_}"


def origin(
    settings: Mapping[str, object], *, seed: object, accelerator: str = "", threads: int = 0
) -> "Origin":
    """The origin of records made under ``settings``; ``accelerator`` names a GPU, else the processor is
    named.
    """
    from semirobust.records.schema import Origin

    device = device_name(accelerator, threads)
    return Origin(config=config_hash(settings), version=code_version(), device=device, seed=str(seed))
