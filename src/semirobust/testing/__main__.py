"""``python -m semirobust.testing FAMILY NAME``: each demand on a member, and whether it is met."""

import json
import sys
from collections.abc import Sequence

from semirobust.core.errors import InputError
from semirobust.testing.base.check import FAMILIES_WITH_CHECKS, checks

_USAGE = (
    "usage: python -m semirobust.testing FAMILY NAME [OPTIONS]\n\n"
    f"FAMILY   {', '.join(FAMILIES_WITH_CHECKS)}\n"
    "NAME     a registered name, or package.module:Class\n"
    'OPTIONS  options of it in JSON, such as {"steps": 2}'
)


def main(words: Sequence[str]) -> int:
    """0 where all demands are met, 1 where one is not, 2 for wrong input."""
    if not 2 <= len(words) <= 3:
        sys.stderr.write(f"{_USAGE}\n")
        return 2
    try:
        found = checks(words[0], words[1], json.loads(words[2]) if len(words) > 2 else None)
    except (InputError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    failed = 0
    for check in found:
        try:
            check()
        except Exception as error:  # a member from outside can fail in any way
            failed += 1
            sys.stdout.write(f"failed  {check.demand}\n        {type(error).__name__}: {error}\n")
        else:
            sys.stdout.write(f"ok      {check.demand}\n")
    sys.stdout.write(f"{len(found) - failed} of {len(found)} demands are met\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
