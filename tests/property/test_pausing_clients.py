"""Clients that pause, under every algorithm: without absences nothing changes, absences only shift times."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property.test_intermittent_clients import (
    ALGORITHMS,
    POWER,
    RUNS,
    SETTINGS,
    SYNCHRONOUS,
    scenarios,
    workload,
)
from support import SLOW, UNLIMITED, data

from sflsim.clock.pauses import Pauses
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.fleet.availability.on_off import ScheduledOnOff
from sflsim.scenario.schema import Scenario

TABLES = ("spans", "evaluations", "clients", "runs", "link_throughput")
NEVER = [{"at": "1e8 s", "leave": True}, {"at": "2e8 s", "join": True}]
Stretches = list[tuple[float, float]]


def run_of(content: dict[str, Any]) -> Run:
    """Return the run of a scenario on the clock."""
    return simulate(Scenario.model_validate(content), timing_only=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(RUNS, max_examples=1)
@given(st.data())
def test_without_absences_nothing_changes(algorithm: str, data: st.DataObject) -> None:
    """Byte for byte, the tables of a fleet that pauses are those of one that loses, or is always there."""
    content = data.draw(scenarios(algorithm))
    for group in content["fleet"]["groups"]:
        group["availability"] = {"kind": "always"}
    content["fleet"]["events"] = [event for event in content["fleet"]["events"] if "set" in event]
    tables = []
    for rule, events in (("lose", []), ("lose", NEVER), ("pause", NEVER)):
        groups = [{**group, "on_absence": rule} for group in content["fleet"]["groups"]]
        fleet = {**content["fleet"], "groups": groups, "events": [*content["fleet"]["events"], *events]}
        run = run_of({**content, "fleet": fleet})
        tables.append([getattr(run, name).to_csv() for name in TABLES])
    assert tables[2] == tables[1] == tables[0]


@st.composite
def absences(draw: st.DrawFn) -> Stretches:
    """Draw some absences, one after another."""
    lengths = draw(st.lists(st.floats(0.5, 40), max_size=12))
    edges = np.cumsum(lengths).tolist()
    return list(zip(edges[::2], edges[1::2], strict=False))


def there_s(t_s: Any, absences: Stretches) -> Any:
    """Return how long the client has been there by each time."""
    return t_s - sum((np.clip(t_s, left_s, back_s) - left_s for left_s, back_s in absences), 0 * t_s)


def joined(starts_s: Any, ends_s: Any) -> Stretches:
    """Return stretches in the order of time, those that follow one another at once made one."""
    found: Stretches = []
    for start_s, end_s in sorted(zip(starts_s.tolist(), ends_s.tolist(), strict=True)):
        if end_s - start_s < 1e-9:
            continue
        if found and start_s <= found[-1][1] + 1e-6:
            found[-1] = found[-1][0], max(end_s, found[-1][1])
        else:
            found.append((start_s, end_s))
    return found


LINKS = st.sampled_from([UNLIMITED, {"up": "6 byte/s", "down": "3 byte/s"}])


def check_shift(algorithm: str, absences: Stretches, link: dict[str, Any], seed: int) -> None:
    """One client, no latency, a server that takes no time: by the time of presence, all is as without."""
    slow = {**SLOW, "on_absence": "pause", "device": {"compute": "4 FLOP/s", "power": POWER}}
    slow |= {
        "link": {"up": "4 byte/s", "down": "8 byte/s"},
        "straggler": {"kind": "exponential", "mean": "1 s"},
    }
    events = [
        {"at": f"{at_s!r} s", "group": "slow", kind: True}
        for left_s, back_s in absences
        for at_s, kind in ((left_s, "leave"), (back_s, "join"))
    ]
    whole, shifted = (
        run_of(
            data(
                seeds=[seed],
                workload=workload(algorithm),
                fleet={"clients": 1, "groups": [slow], "events": moves},
                server={"compute": "unlimited", "slots": 1, "link": link},
                variants=[{"algorithm": algorithm, **SETTINGS.get(algorithm, {})}],
                stop={"rounds": 3},
            )
        )
        for moves in ([], events)
    )
    times_s = whole.evaluations["time_s"].to_numpy()
    assert there_s(shifted.evaluations["time_s"].to_numpy(), absences) == pytest.approx(times_s, abs=1e-6)
    assert not shifted.spans["outcome"].isin(["lost", "wasted"]).any()
    for activity in ("compute", "slowdown", "uplink", "downlink"):
        old, new = (run.spans[run.spans["activity"] == activity] for run in (whole, shifted))
        found = joined(*(there_s(new[name].to_numpy(), absences) for name in ("start_s", "end_s")))
        expected = joined(old["start_s"].to_numpy(), old["end_s"].to_numpy())
        assert np.array(found) == pytest.approx(np.array(expected), abs=1e-6)
        for amount in ("bytes", "flop", "active_energy_j"):
            assert new[amount].sum() == pytest.approx(old[amount].sum(), abs=1e-6)
    (old_row,), (new_row,) = (run.clients.to_dict("records") for run in (whole, shifted))
    assert new_row["idle_j"] == pytest.approx(old_row["idle_j"], abs=1e-6)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(RUNS, max_examples=1)
@given(absences(), LINKS, st.integers(0, 9))
def test_absences_only_shift_times(
    algorithm: str, absences: Stretches, link: dict[str, Any], seed: int
) -> None:
    """What a client does follows its presence; more examples in the slow test below."""
    check_shift(algorithm, [(3.1, 7.3), (9.9, 30.2), *((40 + a, 40 + b) for a, b in absences)], link, seed)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(RUNS, max_examples=10)
@given(absences(), LINKS, st.integers(0, 9))
def test_many_more_absences_only_shift_times(
    algorithm: str, absences: Stretches, link: dict[str, Any], seed: int
) -> None:
    """The same law over ten runs for each algorithm."""
    check_shift(algorithm, absences, link, seed)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", SYNCHRONOUS)
@settings(RUNS, max_examples=5)
@given(st.data())
def test_a_participation_is_the_same_work_with_and_without_absences(
    algorithm: str, data: st.DataObject
) -> None:
    """Of several clients, each that counts in a round computes and sends what it would if always there."""
    content = data.draw(scenarios(algorithm))
    content["fleet"]["events"] = []
    content["variants"][0].pop("deadline", None)
    for group in content["fleet"]["groups"]:
        group["on_absence"] = "pause"
    run = run_of(content)
    for group in content["fleet"]["groups"]:
        group["availability"] = {"kind": "always"}
    content["fleet"]["participants"] = content["fleet"][
        "clients"
    ]  # so that each client takes part at least once
    always = run_of(content)

    assert run.runs["status"][0] == "completed"
    assert "lost" not in set(run.spans["outcome"])
    assert work(run) <= work(always)


def work(run: Run) -> set[tuple[str, float, float]]:
    """Return group, FLOP and bytes sent of the participations that count."""
    spans = run.spans[(run.spans["actor"] == run.spans["client"]) & (run.spans["outcome"] == "done")]
    spans = spans[spans["activity"].isin(["compute", "uplink"])]
    sums = spans.groupby(["client", "round"])[["flop", "bytes"]].sum().round(6).reset_index()
    groups = sums["client"].str.replace(r"-\d+$", "", regex=True)
    return set(zip(groups, sums["flop"], sums["bytes"], strict=True))


@settings(RUNS, max_examples=30)
@given(absences(), st.floats(0, 60), st.floats(0, 60))
def test_stretches_and_ends_agree(absences: Stretches, start_s: float, seconds: float) -> None:
    """Stretches up to the end of a piece of work hold all of it, in order, and only time of presence."""
    pauses = Pauses(ScheduledOnOff(True, [edge for absence in absences for edge in absence]))
    end_s = start_s + pauses.lasting_s(start_s, seconds)
    found = pauses.stretches(start_s, end_s)
    assert sum(end_s - start_s for start_s, end_s in found) == pytest.approx(seconds, abs=1e-6)
    assert there_s(end_s, absences) - there_s(start_s, absences) == pytest.approx(seconds, abs=1e-6)
    assert all(earlier[1] < later[0] for earlier, later in pairwise(found))
