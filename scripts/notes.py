"""The notes of a release, from CHANGELOG.md: ``python -m scripts.notes 0.1.0``."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def notes(version: str) -> str:
    """The section of one version, without its heading."""
    text = (ROOT / "CHANGELOG.md").read_text()
    found = re.search(rf"^## {re.escape(version)} [^\n]*\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if found is None:
        raise SystemExit(f"CHANGELOG.md: expected a heading '## {version} (date)'")
    return found[1].strip()


def main() -> None:
    """Print them."""
    print(notes(sys.argv[1]))


if __name__ == "__main__":
    main()
