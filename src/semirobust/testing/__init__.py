"""What every member of a family must do, as checks that another package can run on its own members.

One file for each family. With pytest::

    import pytest
    from semirobust.testing import checks

    @pytest.mark.parametrize("check", checks("attacks", "mypackage.attacks:Noise"), ids=str)
    def test_noise(check):
        check()

and from a terminal ``python -m semirobust.testing attacks mypackage.attacks:Noise``.
"""

from semirobust.testing.base.check import FAMILIES_WITH_CHECKS, Check, Subject, checks
from semirobust.testing.base.network import SmallResidual, untouched

__all__ = ["FAMILIES_WITH_CHECKS", "Check", "SmallResidual", "Subject", "checks", "untouched"]
