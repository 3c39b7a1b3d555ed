"""What the pages carry with them: the style sheet, its colours and the script that sorts tables."""

from importlib import resources

from semirobust.figures.style import PALETTE

__all__ = ["packaged", "palette"]


def palette() -> str:
    """The colours of the charts by name; the sheet gives those of dark pages."""
    return f":root {{ {' '.join(f'--{name}: {colour};' for name, colour in PALETTE.items())} }}\n"


def packaged(name: str) -> str:
    """The text of a file beside the templates."""
    return (resources.files("semirobust.reports") / "templates" / name).read_text(encoding="utf-8")
