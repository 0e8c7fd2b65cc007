"""Tells what a device's profile does not say of a scenario: passes that it lacks, sizes that it bounds."""

from __future__ import annotations

from collections.abc import Iterator

from sflsim.fleet.block_profile import BlockProfile, Profiled
from sflsim.learning.config import BatchSizeByDevice
from sflsim.scenario.schema import Scenario
from sflsim.session.requirements import Requirements
from sflsim.work import WorkByKind


def unused_profiles(scenario: Scenario) -> list[str]:
    """Return a line for each group whose profile lacks a pass of its clients or bounds their batches."""
    lines = []
    for index, group in enumerate(scenario.fleet.groups):
        if group.device.profile is not None:
            profile = group.device.profile.measured
            needs, place = Requirements(scenario), f"fleet.groups[{index}].device.profile"
            lines += [f"{place}: {bound}" for bound in dict.fromkeys(_bounds(needs, index, profile))]
            reasons = dict.fromkeys(_reasons(needs, index, profile))
            lines += [f"{place}: {reason}; there, the device's rates hold" for reason in reasons]
    return lines


def _bounds(needs: Requirements, group: int, profile: BlockProfile) -> Iterator[str]:
    """Yield where the sizes that a rule gives a group end at what was measured, not at the rule's bounds."""
    rule = needs.scenario.workload.batch_size
    if not isinstance(rule, BatchSizeByDevice):
        return
    for index in range(len(needs.scenario.variants)):
        work = needs.costs(needs.cut(index)).client_forward_flop
        found = Profiled(profile, 1.0, 1.0).sizes(work)
        if found is not None and found[0] <= rule.mean <= found[1]:
            fewest, most = needs.sizes_by_group(index)[group]
            if rule.min < fewest == found[0] or rule.most > most == found[1]:
                yield f"has batches of {found[0]} to {found[1]}, so sizes by {rule.by} are kept to these"


def _reasons(needs: Requirements, group: int, profile: BlockProfile) -> Iterator[str]:
    """Yield why passes of a group's clients are not in the profile; of several cuts the deepest.

    Of several batch sizes it looks at the smallest and the largest.
    """
    variants = range(len(needs.scenario.variants))
    sizes = [set(needs.sizes_by_group(index)[group]) for index in variants]
    places = [(index, size) for index, few in enumerate(sizes) for size in sorted(few)]
    for index, size in places:
        costs = needs.costs(needs.cut(index), size)
        held_whole = "workload.cut" in needs.algorithm(index).unread  # its clients train both parts
        parts = {"client_forward": costs.client_forward_flop}
        parts |= {"server_forward": costs.server_forward_flop} if held_whole else {}
        for key, work in parts.items():
            if not isinstance(work, WorkByKind) or not work.passes:
                yield f"is of a network, and workload.costs gives {key} of another"
                continue
            for one, _ in work.passes:
                found = profile.find(one)
                if isinstance(found, str):
                    yield found
