"""Fluid transfers over shared links: max-min fair at every instant, nothing lost, everything ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle.references.max_min_fair import by_filling, by_linear_programs

from sflsim.clock.flows import AccessLink, Flow, ServerLink
from sflsim.clock.fluid import FluidModel

CAPS = [1.0, 2.0, 3.0, 7.0, 20.0, inf]
ACCESS_LINKS = st.lists(st.one_of(st.sampled_from([1.0, 5.0, 12.0, 60.0]), st.floats(0.1, 100)), max_size=4)
SERVER_LINKS = st.lists(st.sampled_from([2.0, 10.0, 31.4, 200.0, inf]), min_size=1, max_size=3)
START = st.tuples(
    st.just("start"), st.one_of(st.sampled_from(CAPS), st.floats(0.05, 50)), st.floats(0.1, 200),
    st.integers(0, 4), st.integers(0, 2),
)  # fmt: skip
STOP = st.tuples(st.just("stop"), st.integers(0, 30))
RESIZE = st.tuples(st.just("resize"), st.integers(0, 6), st.floats(0.5, 80))
PASS = st.tuples(st.just("pass"), st.one_of(st.floats(0, 3), st.floats(3, 60)))
STEPS = st.lists(st.one_of(START, START, START, PASS, PASS, STOP, RESIZE), min_size=1, max_size=60)


def rate_of(flow: Flow) -> float:
    assert flow.flow_class is not None
    return flow.flow_class.rate_bytes_per_s


@dataclass
class World:
    """The fluid model, and an independent account of what each flow has received."""

    access_links: list[AccessLink]
    server_links: list[ServerLink]
    fluid: FluidModel = field(default_factory=FluidModel)
    now_s: float = 0.0
    left: dict[Flow, float] = field(default_factory=dict)
    spec: dict[Flow, tuple[float, tuple[str, ...]]] = field(default_factory=dict)
    checked: int = 0

    def capacities(self) -> dict[str, float]:
        """Return the limited links by name."""
        named = {f"access link {i}": link.allocator.capacity for i, link in enumerate(self.access_links)}
        server_links = {
            f"server link {i}": link.allocator.capacity for i, link in enumerate(self.server_links)
        }
        return named | {name: capacity for name, capacity in server_links.items() if capacity < inf}

    def start(self, cap: float, size: float, access_link: int, server_link: int) -> None:
        """Start one flow, if it is limited anywhere."""
        server_link %= len(self.server_links)
        behind = self.access_links[access_link] if access_link < len(self.access_links) else None
        if cap == inf and behind is None and self.server_links[server_link].allocator.capacity == inf:
            return
        flow = Flow()
        names = ([f"access link {access_link}"] if behind else []) + [f"server link {server_link}"]
        self.fluid.start(flow, size, cap, behind, self.server_links[server_link], self.now_s)
        self.left[flow], self.spec[flow] = (
            size,
            (cap, tuple(name for name in names if name in self.capacities())),
        )

    def check(self) -> None:
        """The rates are those of the oracle, and no link carries more than it can."""
        self.fluid.reallocate(self.now_s)
        flows = list(self.left)
        expected = by_filling([self.spec[flow] for flow in flows], self.capacities())
        found = [rate_of(flow) for flow in flows]
        assert found == pytest.approx(expected, rel=1e-9)
        for name, capacity in self.capacities().items():
            load = sum(rate for flow, rate in zip(flows, found, strict=True) if name in self.spec[flow][1])
            assert load <= capacity * (1 + 1e-9)
        self.checked += 1

    def go_on(self, until_s: float) -> None:
        """Let time pass, from one end to the next; what flows got is what their rates say."""
        while True:
            next_s = min(self.fluid.next_end_s, until_s)
            assert next_s >= self.now_s - 1e-9
            for flow in self.left:
                self.left[flow] -= rate_of(flow) * max(next_s - self.now_s, 0)
            self.now_s = max(self.now_s, next_s)
            ended = self.fluid.pop_ended(self.now_s)
            for flow in ended:
                assert self.left.pop(flow) == pytest.approx(0, abs=1e-6)
            self.check()
            if not ended:
                return


def play(capacities: tuple[list[float], list[float]], steps: list[tuple]) -> World:
    """Play the steps, then wait until everything has ended."""
    world = World([AccessLink(one) for one in capacities[0]], [ServerLink(one) for one in capacities[1]])
    for step, *details in steps:
        if step == "start":
            world.start(*details)
        elif step == "pass":
            world.go_on(world.now_s + details[0])
        elif step == "stop" and world.left:
            flow = list(world.left)[details[0] % len(world.left)]
            assert world.fluid.stop(flow, world.now_s) == pytest.approx(world.left.pop(flow), abs=1e-6)
        elif step == "resize":
            limited = [
                one for one in [*world.access_links, *world.server_links] if one.allocator.capacity < inf
            ]
            if limited:
                world.fluid.set_capacity(limited[details[0] % len(limited)], details[1])
        world.check()
    while world.left:
        assert world.fluid.next_end_s < inf
        world.go_on(world.fluid.next_end_s)
    assert world.fluid.next_end_s == inf
    return world


ONE_SERVER_LINK_LEFT = [  # of two behind an access link; then it grows beyond the access link
    ("start", inf, 100.0, 0, 0),
    ("start", 20.0, 100.0, 0, 0),
    ("start", 20.0, 1.0, 0, 1),
    ("pass", 3.0),
    ("resize", 1, 50.0),
]


@settings(max_examples=300, deadline=None)
@given(st.tuples(ACCESS_LINKS, SERVER_LINKS), STEPS)
@example(([7.0], [3.0, 200.0]), ONE_SERVER_LINK_LEFT)
def test_rates_are_fair_and_everything_ends(
    capacities: tuple[list[float], list[float]], steps: list[tuple]
) -> None:
    """Any flows over any links, started, stopped, links resized: fair at all times, bytes conserved."""
    play(capacities, steps)


FEW = st.lists(st.one_of(START, START, PASS, RESIZE, RESIZE), min_size=1, max_size=30)


@pytest.mark.slow
@settings(max_examples=4000, deadline=None)
@given(st.tuples(st.lists(st.floats(1, 60), min_size=1, max_size=1), SERVER_LINKS), FEW)
def test_rates_through_one_access_link(
    capacities: tuple[list[float], list[float]], steps: list[tuple]
) -> None:
    """The same where server links behind one access link come, go and change."""
    play(
        capacities,
        [
            (step, *([*details[:2], 0, details[3]] if step == "start" else details))
            for step, *details in steps
        ],
    )


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(ACCESS_LINKS, SERVER_LINKS),
    st.lists(START, min_size=1, max_size=12),
)
def test_rates_are_those_of_linear_programs(
    capacities: tuple[list[float], list[float]], steps: list[tuple]
) -> None:
    """The allocation is the one that linear programs find, level by level."""
    world = World([AccessLink(one) for one in capacities[0]], [ServerLink(one) for one in capacities[1]])
    for _, *details in steps:
        world.start(*details)
    world.fluid.reallocate(0.0)
    if world.left:
        expected = by_linear_programs(list(world.spec.values()), world.capacities())
        assert [rate_of(flow) for flow in world.left] == pytest.approx(expected, rel=1e-5)
