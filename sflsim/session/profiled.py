"""Tells which passes of a scenario a device's profile says nothing about: its rates hold for them."""

from __future__ import annotations

from collections.abc import Iterator

from sflsim.fleet.block_profile import BlockProfile
from sflsim.scenario.schema import Scenario
from sflsim.session.requirements import Requirements
from sflsim.work import WorkByKind


def unused_profiles(scenario: Scenario) -> list[str]:
    """Return a line for each group whose profile lacks a pass of its clients, with the reason."""
    lines = []
    for index, group in enumerate(scenario.fleet.groups):
        if group.device.profile is not None:
            reasons = dict.fromkeys(_reasons(scenario, index, group.device.profile.measured))
            place = f"fleet.groups[{index}].device.profile"
            lines += [f"{place}: {reason}; there, the device's rates hold" for reason in reasons]
    return lines


def _reasons(scenario: Scenario, group: int, profile: BlockProfile) -> Iterator[str]:
    """Yield why passes of a group's clients are not in the profile; of several cuts the deepest.

    Of several batch sizes it looks at the smallest and the largest.
    """
    needs = Requirements(scenario)
    cuts = [needs.cut(index) for index in range(len(scenario.variants))]
    sizes = [set(needs.sizes_by_group(cut)[group]) for cut in cuts]
    places = [(index, size) for index, few in enumerate(sizes) for size in sorted(few)]
    for index, size in places:
        costs = needs.costs(cuts[index], size)
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
