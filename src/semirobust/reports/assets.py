"""What the pages are made from: templates, the style sheet, its colours and the script that sorts tables."""

from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

from semirobust.figures.style import PALETTE

__all__ = ["packaged", "palette", "templates"]


def palette() -> str:
    """The colours of the charts by name; the sheet gives those of dark pages."""
    return f":root {{ {' '.join(f'--{name}: {colour};' for name, colour in PALETTE.items())} }}\n"


def packaged(name: str) -> str:
    """The text of a file beside the templates."""
    return (resources.files("semirobust.reports") / "templates" / name).read_text(encoding="utf-8")


def templates() -> Environment:
    """Those of the pages; text that is put in is escaped, and a name without a value is an error."""
    return Environment(
        loader=PackageLoader("semirobust.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
