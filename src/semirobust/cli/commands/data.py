"""``semirobust data``."""

import click

from semirobust.cli import flags
from semirobust.cli.console import print_json, tell
from semirobust.cli.progress import bars
from semirobust.cli.show.catalogue import show_catalogue
from semirobust.data.base.locate import download

__all__ = ["command"]


def data(fetch: str | None, data_root: str | None, as_json: bool) -> None:
    """Data sets known by name: where they are looked for, their size and licence."""
    if fetch is None:
        show_catalogue(data_root, as_json=as_json)
        return
    with bars(quiet=as_json) as progress:
        folder = download(fetch, data_root, progress=progress)
    if as_json:
        print_json({"name": fetch, "folder": str(folder)})
    else:
        tell(f"{fetch} is in {folder}")


command = flags.command(
    data,
    click.Option(["--fetch"], help="Download this data set from its official address."),
    click.Option(["--data-root"], help="Folder in which a known data set lies."),
    flags.AS_JSON,
)
