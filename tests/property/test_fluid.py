"""Fluid transfers over shared media: max-min fair at every instant, nothing lost, everything ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.references.max_min_fair import by_filling, by_linear_programs

from sflsim.clock.fluid import Flow, Fluid, Leaf, Trunk

CAPS = [1.0, 2.0, 3.0, 7.0, 20.0, inf]
LEAVES = st.lists(st.one_of(st.sampled_from([1.0, 5.0, 12.0, 60.0]), st.floats(0.1, 100)), max_size=4)
TRUNKS = st.lists(st.sampled_from([2.0, 10.0, 31.4, 200.0, inf]), min_size=1, max_size=3)
START = st.tuples(
    st.just("start"), st.one_of(st.sampled_from(CAPS), st.floats(0.05, 50)), st.floats(0.1, 200),
    st.integers(0, 4), st.integers(0, 2),
)  # fmt: skip
STOP = st.tuples(st.just("stop"), st.integers(0, 30))
RESIZE = st.tuples(st.just("resize"), st.integers(0, 6), st.floats(0.5, 80))
PASS = st.tuples(st.just("pass"), st.one_of(st.floats(0, 3), st.floats(3, 60)))
STEPS = st.lists(st.one_of(START, START, START, PASS, PASS, STOP, RESIZE), min_size=1, max_size=60)


@dataclass
class World:
    """The fluid beside an account of its own of what every flow has got."""

    leaves: list[Leaf]
    trunks: list[Trunk]
    fluid: Fluid = field(default_factory=Fluid)
    now_s: float = 0.0
    left: dict[Flow, float] = field(default_factory=dict)
    spec: dict[Flow, tuple[float, tuple[str, ...]]] = field(default_factory=dict)
    checked: int = 0

    def media(self) -> dict[str, float]:
        """Return the limited media by name."""
        named = {f"leaf {i}": leaf.pool.capacity for i, leaf in enumerate(self.leaves)}
        trunks = {f"trunk {i}": trunk.pool.capacity for i, trunk in enumerate(self.trunks)}
        return named | {name: capacity for name, capacity in trunks.items() if capacity < inf}

    def start(self, cap: float, size: float, leaf: int, trunk: int) -> None:
        """Start one flow, if it is limited anywhere."""
        trunk %= len(self.trunks)
        behind = self.leaves[leaf] if leaf < len(self.leaves) else None
        if cap == inf and behind is None and self.trunks[trunk].pool.capacity == inf:
            return
        flow = Flow()
        names = ([f"leaf {leaf}"] if behind else []) + [f"trunk {trunk}"]
        self.fluid.start(flow, size, cap, behind, self.trunks[trunk], self.now_s)
        self.left[flow], self.spec[flow] = size, (cap, tuple(name for name in names if name in self.media()))

    def check(self) -> None:
        """The rates are those of the oracle, and no medium carries more than it can."""
        self.fluid.settle(self.now_s)
        flows = list(self.left)
        expected = by_filling([self.spec[flow] for flow in flows], self.media())
        found = [flow.rate_bytes_per_s for flow in flows]
        assert found == pytest.approx(expected, rel=1e-9)
        for name, capacity in self.media().items():
            load = sum(rate for flow, rate in zip(flows, found, strict=True) if name in self.spec[flow][1])
            assert load <= capacity * (1 + 1e-9)
        self.checked += 1

    def go_on(self, until_s: float) -> None:
        """Let time pass, from one end to the next; what flows got is what their rates say."""
        while True:
            next_s = min(self.fluid.next_s, until_s)
            assert next_s >= self.now_s - 1e-9
            for flow in self.left:
                self.left[flow] -= flow.rate_bytes_per_s * max(next_s - self.now_s, 0)
            self.now_s = max(self.now_s, next_s)
            over = self.fluid.ended(self.now_s)
            for flow in over:
                assert self.left.pop(flow) == pytest.approx(0, abs=1e-6)
            self.check()
            if not over:
                return


def play(capacities: tuple[list[float], list[float]], steps: list[tuple]) -> World:
    """Play the steps, then wait until everything has ended."""
    world = World([Leaf(one) for one in capacities[0]], [Trunk(one) for one in capacities[1]])
    for step, *details in steps:
        if step == "start":
            world.start(*details)
        elif step == "pass":
            world.go_on(world.now_s + details[0])
        elif step == "stop" and world.left:
            flow = list(world.left)[details[0] % len(world.left)]
            assert world.fluid.stop(flow, world.now_s) == pytest.approx(world.left.pop(flow), abs=1e-6)
        elif step == "resize":
            limited = [one for one in [*world.leaves, *world.trunks] if one.pool.capacity < inf]
            if limited:
                world.fluid.resize(limited[details[0] % len(limited)], details[1])
        world.check()
    while world.left:
        assert world.fluid.next_s < inf
        world.go_on(world.fluid.next_s)
    assert world.fluid.next_s == inf
    return world


@settings(max_examples=300, deadline=None)
@given(st.tuples(LEAVES, TRUNKS), STEPS)
def test_rates_are_fair_and_everything_ends(
    capacities: tuple[list[float], list[float]], steps: list[tuple]
) -> None:
    """Any flows over any media, started, taken out, media resized: fair at all times, bytes conserved."""
    play(capacities, steps)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(LEAVES, TRUNKS),
    st.lists(START, min_size=1, max_size=12),
)
def test_rates_are_those_of_linear_programs(
    capacities: tuple[list[float], list[float]], steps: list[tuple]
) -> None:
    """The allocation is the one that linear programs find, level by level."""
    world = World([Leaf(one) for one in capacities[0]], [Trunk(one) for one in capacities[1]])
    for _, *details in steps:
        world.start(*details)
    world.fluid.settle(0.0)
    if world.left:
        expected = by_linear_programs(list(world.spec.values()), world.media())
        assert [flow.rate_bytes_per_s for flow in world.left] == pytest.approx(expected, rel=1e-5)
