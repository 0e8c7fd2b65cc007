"""GAS's clock against an event loop written from the papers' digest alone, on the draws of its WRTT scenario.

From the package come who begins, the draws of who follows (`Fleet.select`), and what was drawn for
each device; everything else is the oracle's.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from oracle.harness import Recorded, RecordingLearner, RecordingSession
from oracle.references.gas_clock import Contribution, GasClock, Settings, simulate_gas, wrtt_uplink_bit_s

from sflsim.fleet.population import Fleet, build_fleet
from sflsim.scenario import load_scenario
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Outcome, Session
from sflsim.streams import generator

PAPER = Path(__file__).parents[2] / "scenarios" / "papers" / "gas_wrtt.yaml"
PASS_FLOP, ACTIVATION_BIT, PART_BIT, E = 5_603_328, 131_072 * 32, 620_544, 20
ROUNDS = 6


def paper(*overrides: str, rounds: int = ROUNDS) -> Scenario:
    stop = f"stop={{rounds: {rounds}}}"
    return load_scenario(PAPER, [stop, "evaluate={every: 1 round}", *overrides])


class NamesOnly(RecordingLearner):
    """Names what would be learned and learns nothing."""

    def evaluate(self, model: Any) -> tuple[float, float]:
        return 0.0, 0.0


def run(scenario: Scenario, seed: int) -> tuple[Outcome, list[Recorded]]:
    session = RecordingSession(scenario, learner=NamesOnly)
    session.check()
    return session.run(0, seed, lambda row: None), session.learner.calls


def wanted(scenario: Scenario, seed: int, parts: int, q_c: int) -> GasClock:
    """Return the oracle's clock for what the package drew."""
    fleet = build_fleet(scenario.fleet, seed)
    names = [fleet.device(index).name for index in range(len(fleet))]
    flop_s = [generator(seed, "compute", name).uniform(1e9, 1e10, 1)[0] for name in names]
    km = [generator(seed, "distance", name).uniform(0.1, 1, 1)[0] for name in names]
    return oracle(fleet, scenario, flop_s, [wrtt_uplink_bit_s(one) for one in km], parts, q_c)


def oracle(
    fleet: Fleet, scenario: Scenario, flop_s: list[float], bit_s: list[float], parts: int, q_c: int
) -> GasClock:
    settings = Settings(
        compute_flop_s=flop_s,
        uplink_bit_s=bit_s,
        first=fleet.select(0, scenario.fleet.participants_per_round),
        iterations=E,
        forward_flop=PASS_FLOP,
        backward_flop=PASS_FLOP,
        activation_bits=ACTIVATION_BIT,
        model_bits=PART_BIT,
        q_c=q_c,
        q_s=10,
    )
    return simulate_gas(settings, lambda number, idle: fleet.select(number, 1, idle)[0], parts)


def contributions(outcome: Outcome, calls: list[Recorded]) -> list[Contribution]:
    """Return the parts of a run in order of arrival, and which global part each had begun from."""
    indices = {name: int(name.rsplit("-", 1)[1]) for name in {span.client for span in outcome.spans} if name}
    starts_s: dict[tuple[str, int], float] = {}
    for span in outcome.spans:
        turn = span.client, span.round
        starts_s[turn] = min(span.start_s, starts_s.get(turn, span.start_s))
    versions: dict[str, int] = {}
    taken: dict[tuple[int, int], int] = {}
    begun: Counter[int] = Counter()
    for call in calls:
        if call.function == "mean_part":
            versions[call.handles[0].key] = len(versions) + 1
        elif call.function == "exchange" and call.arguments[0]["fresh"]:
            client = call.arguments[0]["batch"][0]
            begun[client] += 1
            taken[client, begun[client]] = versions.get(call.arguments[0]["client_model"].key, 0)
    found = [
        Contribution(
            indices[span.client],
            starts_s[span.client, span.round],
            span.end_s,
            taken[indices[span.client], span.round],
        )
        for span in outcome.spans
        if span.activity == "uplink" and round(8 * span.bytes) == PART_BIT
    ]
    return sorted(found, key=lambda one: one.arrived_s)


def near(times_s: list[float]) -> Any:
    """Return what equals these times to a billionth of a second."""
    return pytest.approx(times_s, rel=0, abs=1e-9)


@pytest.mark.parametrize(("seed", "q_c"), [(0, 10), (1, 10), (2, 10), (0, 15), (0, 3)])
def test_arrivals_and_replacements_are_the_oracles(seed: int, q_c: int) -> None:
    """Every part and activation, who follows whom and from which global part, every full buffer."""
    scenario = paper(f"variants=[{{algorithm: gas, q_c: {q_c}}}]", rounds=ROUNDS * 10 // q_c)
    outcome, calls = run(scenario, seed)
    clock = wanted(scenario, seed, outcome.rounds * q_c, q_c)
    found = contributions(outcome, calls)

    assert [(one.client, one.version_at_start) for one in found] == [
        (one.client, one.version_at_start) for one in clock.contributions
    ]
    assert len({one.version_at_start for one in found}) > 2
    for field in ("started_s", "arrived_s"):
        expected = [getattr(one, field) for one in clock.contributions]
        assert [getattr(one, field) for one in found] == near(expected)
    arrivals = sorted(
        (span.end_s, int(span.client.rsplit("-", 1)[1]))
        for span in outcome.spans
        if span.activity == "uplink" and round(8 * span.bytes) == ACTIVATION_BIT
    )
    assert [client for _, client in arrivals] == [client for _, client in clock.activations_s]
    assert [at_s for at_s, _ in arrivals] == near([at_s for at_s, _ in clock.activations_s])
    updates_s = [row.time_s for row in outcome.evaluations[1:]]
    assert updates_s == near(clock.publications_s)
    steps_s = [span.end_s for span in outcome.spans if span.activity == "serve" and not span.client]
    assert steps_s == near(clock.server_steps_s)


def test_all_clients_active_go_on_themselves() -> None:
    """Nobody is idle: every client takes its own place, on its own clock."""
    scenario = paper("variants=[{algorithm: gas}]", "fleet.participants=20")
    outcome, calls = run(scenario, 0)

    found = contributions(outcome, calls)
    clock = wanted(scenario, 0, 10 * outcome.rounds, 10)
    assert [one.client for one in found] == [one.client for one in clock.contributions]
    assert [one.arrived_s for one in found] == near([one.arrived_s for one in clock.contributions])


def published() -> tuple[Scenario, list[float], list[float]]:
    """Return the scenario with the rates and distances of the published code (NumPy's seed 2023)."""
    drawn = np.random.RandomState(2023)  # the generator of that code
    flop_s, km = (drawn.uniform(low, high, 20).tolist() for low, high in ((1e9, 1e10), (0.1, 1)))
    (group,) = yaml.safe_load(PAPER.read_text())["fleet"]["groups"]
    groups = [
        {
            "name": f"client-{k}",
            "count": 1,
            "device": {"compute": f"{flop_s[k]!r} FLOP/s"},
            "link": {**group["link"], "distance": f"{km[k]!r} km"},
        }
        for k in range(20)
    ]
    return paper(f"fleet.groups={json.dumps(groups)}", rounds=30), flop_s, km


def test_ten_parts_take_as_long_as_in_the_published_code() -> None:
    """There they take 3.1 s on its draws (a loop that keeps each client's time, run once beside this one)."""
    scenario, flop_s, km = published()
    session = Session(scenario, Options(timing_only=True))
    outcome = session.run(0, 0, lambda row: None)
    fleet = build_fleet(scenario.fleet, 0)
    clock = oracle(fleet, scenario, flop_s, [wrtt_uplink_bit_s(one) for one in km], 300, 10)

    assert 3.0 < outcome.time_s / outcome.rounds < 3.5
    assert outcome.time_s == pytest.approx(clock.publications_s[-1], rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_gas_is_faster_than_fedbuff_and_that_than_fedavg(seed: int) -> None:
    """In seconds for ten parts: less work at the client, and nobody who waits for the slowest."""
    scenario = paper(
        "variants=[{algorithm: gas}, {algorithm: fedbuff, local_iterations: 20}, "
        "{algorithm: fedavg, local_iterations: 20}]"
    )
    session = Session(scenario, Options(timing_only=True))
    runs = [session.run(number, seed, lambda row: None) for number in range(3)]
    gas_s, fedbuff_s, fedavg_s = (one.time_s / one.rounds for one in runs)

    assert gas_s < fedbuff_s < fedavg_s
