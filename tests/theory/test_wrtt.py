"""GAS on its own time model: arrivals to be had by hand from the rate formula and the fixed costs."""

from __future__ import annotations

from math import log2, log10
from pathlib import Path

import pytest

from sflsim.fleet.population import build_fleet
from sflsim.scenario import load_scenario
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Outcome, Session
from sflsim.streams import generator

PAPER = Path(__file__).parents[2] / "scenarios" / "papers" / "gas_wrtt.yaml"
PASS_FLOP, ACTIVATION_BIT, PART_BIT, E = 5_603_328, 131_072 * 32, 620_544, 20


def scenario(*overrides: str) -> Scenario:
    return load_scenario(PAPER, overrides)


def run(paper: Scenario, seed: int) -> Outcome:
    session = Session(paper, Options(timing_only=True))
    session.check()
    assert paper.variants[0].algorithm == "gas"
    return session.run(0, seed, lambda row: None)


def times_of(name: str, seed: int) -> tuple[float, float, float]:
    """Return the seconds of a pass, of an activation's and of a client part's way up."""
    flop_per_s = generator(seed, "compute", name).uniform(1e9, 1e10, 1)[0]
    km = generator(seed, "distance", name).uniform(0.1, 1, 1)[0]
    gain = 10 ** (-(128.1 + 37.6 * log10(km)) / 10)
    bit_per_s = 10e6 * log2(1 + 0.2 * gain / (10e6 * 3.981e-21))
    return PASS_FLOP / flop_per_s, ACTIVATION_BIT / bit_per_s, PART_BIT / bit_per_s


def arrivals_of(name: str, seed: int, start_s: float = 0.0) -> list[tuple[float, str, int]]:
    """Return what a client sends in one turn: (time, client, bits); the i-th activation after i forward
    passes, i transfers and i - 1 backward passes, the part at the end.
    """
    pass_s, activation_s, part_s = times_of(name, seed)
    activations = [
        (start_s + i * (pass_s + activation_s) + (i - 1) * pass_s, name, ACTIVATION_BIT)
        for i in range(1, E + 1)
    ]
    return [*activations, (start_s + E * (2 * pass_s + activation_s) + part_s, name, PART_BIT)]


def uplinks(outcome: Outcome) -> list[tuple[float, str, int]]:
    """Return (arrival time, client, bits) of every message up, in order."""
    return sorted(
        (span.end_s, span.client, round(8 * span.bytes))
        for span in outcome.spans
        if span.activity == "uplink"
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_first_50_arrivals_are_those_of_the_formula(seed: int) -> None:
    """Ten active clients on clocks of their own, the server and everything down free."""
    paper = scenario("stop={rounds: 2}")
    fleet = build_fleet(paper.fleet, seed)
    active = [fleet.device(index).name for index in fleet.select(0, 10)]
    wanted = sorted(event for name in active for event in arrivals_of(name, seed))[:50]
    found = uplinks(run(paper, seed))[:50]

    assert [event[1:] for event in found] == [event[1:] for event in wanted]
    assert [event[0] for event in found] == pytest.approx([event[0] for event in wanted], rel=1e-12)


def test_the_first_who_is_done_is_replaced_at_once() -> None:
    """By one that was idle: its turn is that of the formula from there, though no buffer is full."""
    found = uplinks(run(scenario("stop={rounds: 2}"), 0))
    fleet = build_fleet(scenario().fleet, 0)
    first = [fleet.device(index).name for index in fleet.select(0, 10)]
    ends_s = min(arrivals_of(name, 0)[-1][0] for name in first)
    new = next(name for _, name, _ in found if name not in first)
    wanted = arrivals_of(new, 0, ends_s)
    own = [event for event in found if event[1] == new][: len(wanted)]

    assert [event[2] for event in own] == [event[2] for event in wanted]
    assert [event[0] for event in own] == pytest.approx([event[0] for event in wanted], rel=1e-9)


def test_nothing_but_the_uplink_and_the_clients_passes_takes_time() -> None:
    """Downlink, server and latency are free, labels are not sent."""
    outcome = run(scenario("stop={rounds: 2}"), 0)
    free = [span for span in outcome.spans if span.activity in ("downlink", "serve", "queue")]

    assert free
    assert {span.end_s - span.start_s for span in free} == {0.0}
    assert {span.flop for span in outcome.spans if span.activity == "compute"} == {PASS_FLOP}
    assert {round(8 * span.bytes) for span in outcome.spans if span.activity == "uplink"} == {
        ACTIVATION_BIT,
        PART_BIT,
    }
