"""The data sets known by name."""

from collections.abc import Mapping
from typing import Any

from semirobust.cli.console import print_json, show_table, tell

__all__ = ["show_catalogue"]


def show_catalogue(root: str | None, *, as_json: bool) -> None:
    """The data sets known by name."""
    from semirobust.data.base.catalogue import CATALOGUE
    from semirobust.data.base.locate import data_roots

    roots = data_roots(root)
    found = {
        name: next((str(r / folder) for r in roots for folder in e.folders if (r / folder).is_dir()), "")
        for name, e in CATALOGUE.items()
    }
    found["digits"] = "embedded"
    if as_json:
        entries: list[Mapping[str, Any]] = [
            {
                "name": e.name,
                "images": e.images,
                "megabytes": e.megabytes,
                "licence": e.licence,
                "found": found[e.name],
                "urls": [r.url for r in e.remotes],
            }
            for e in CATALOGUE.values()
        ]
        print_json({"looked_for_in": [str(r) for r in roots], "data": entries})
        return
    rows = [
        (e.name, e.images, f"{e.megabytes:.0f} MB" if e.megabytes else "–", e.licence, found[e.name] or "no")
        for e in CATALOGUE.values()
    ]
    header = ("name", "images", "download", "licence and credit", "at hand")
    show_table("Known data", header, rows, left=True)
    tell(
        f"Looked for in {', '.join(map(str, roots))} and the sub-folder of each name. "
        "Also: --data FILE.npz, --data FOLDER (a sub-folder for each class)."
    )
