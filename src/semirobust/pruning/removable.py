"""Which groups of channels can be removed, found out by trying."""

import logging
from collections.abc import Sequence

import torch

from semirobust.pruning.groups import Group, kind_of
from semirobust.pruning.removal import Check, Removal

__all__ = ["removable"]

_LOG = logging.getLogger("semirobust.pruning")


def removable(
    groups: Sequence[Group], check: Check, generator: torch.Generator
) -> tuple[list[Group], dict[str, str]]:
    """The groups that can be removed, all of them together, and for each other one why not.

    Half of the channels of all together are tried first. Where that fails, fewer groups are, down to the same
    layer of all blocks, and then one by one; what fails in the first two blocks counts as failed in all.

    Args:
        groups: of one network.
        check: says what is wrong with it without some channels.
        generator: draws the half.
    """
    problems = {group.name: group.problem for group in groups if group.problem}
    halves, kinds = dict[str, Removal](), dict[str, list[Group]]()
    for group in groups:
        if not group.problem:
            kinds.setdefault(kind_of(group.name), []).append(group)
            half = torch.randperm(len(group.units), generator=generator)[: len(group.units) // 2]
            halves[group.name] = Removal.none(check.model) | group.removal(half.tolist())
    accepted: list[Group] = []

    def problem_with(more: list[Group]) -> str:
        together = Removal.none(check.model)
        for one in (*accepted, *more):
            together |= halves[one.name].removed
        problem = check.problem(together)
        _LOG.debug("%d groups from %s on: %s", len(more), more[0].name, problem or "can be removed")
        if not problem:
            accepted.extend(more)
        return problem

    def grow(rest: list[list[Group]]) -> None:
        members = [group for kind in rest for group in kind]
        problem = problem_with(members) if members else ""
        if not problem:
            return
        if len(rest) > 1:
            grow(rest[: len(rest) // 2])
            grow(rest[len(rest) // 2 :])
            return
        failed = 0
        for position, group in enumerate(members):
            if len(members) > 1 and (position < 2 or failed < position):
                problem = problem_with([group])
            if problem:
                problems[group.name], failed = problem, failed + 1

    grow(list(kinds.values()))
    return accepted, problems
