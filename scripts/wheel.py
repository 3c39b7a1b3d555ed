"""Build the wheel, check its size, and try it: ``python -m scripts.wheel`` or ``make wheel``.

It is installed into a fresh environment, outside of the checkout, where it must run the whole job. That
downloads all dependencies once more and takes some minutes; ``--build`` stops at the size.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_LIMIT = 500_000  # bytes


def build(folder: Path) -> Path:
    """The wheel of this checkout, in ``folder``."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("semirobust-*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("semirobust-*.whl")
    return wheel


def try_out(wheel: Path) -> None:
    """Install it into a new environment and run the demo there."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        venv.create(place / "venv", with_pip=True)
        programs = place / "venv" / "bin"
        pip = [str(programs / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), str(wheel)], check=True, cwd=place)
        subprocess.run([str(programs / "semirobust"), "demo"], check=True, cwd=place)


def main() -> None:
    """Build, weigh, try."""
    wheel = build(ROOT / "dist")
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 1000:.0f} kB")
    if size > _LIMIT:
        raise SystemExit(
            f"the wheel is larger than {_LIMIT / 1000:.0f} kB: what came in that does not belong?"
        )
    if "--build" not in sys.argv:
        try_out(wheel)


if __name__ == "__main__":
    main()
