"""``python -m semirobust``."""

from semirobust.cli.app import main

main()
