"""A run ends with the first round by whose end its bytes or joules are spent, and is the same up to there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from oracle.planned import planned
from support import FAST, FREE, SLOW, data, read

import sflsim
from sflsim.errors import ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import Progress, simulate
from sflsim.metrics.comparison import compare
from sflsim.planner.plan import plan
from sflsim.session import Options, Session

POWER = {"idle": "1 W", "compute": "3 W", "send": "2 W"}
DRAWING = [{**group, "device": {**group["device"], "power": POWER}} for group in (FAST, SLOW)]  # type: ignore[dict-item]
ALGORITHMS = [
    "splitfed-v1",
    "sl",
    "ho-sfl",
    "fedasync",
    {"algorithm": "gas", "q_c": 2, "local_iterations": 2},
]
ROUND_BYTES = 2 * (16 + 8 + 4 + 8 + 16)
"""Of splitfed-v1, two clients: the part down, activation and labels up, the gradient down, the part up."""


def run(stop: dict[str, Any], **fields: Any) -> Run:
    """Return a run on the clock alone of devices that draw energy."""
    fields = {"fleet": {"clients": 2, "groups": DRAWING}, **fields}
    return simulate(read(data(stop=stop, **fields)), timing_only=True)


@pytest.mark.parametrize(
    ("limit_bytes", "rounds"), [(1, 1), (ROUND_BYTES, 1), (ROUND_BYTES + 1, 2), (3 * ROUND_BYTES, 3)]
)
def test_bytes_by_hand(limit_bytes: int, rounds: int) -> None:
    found = run({"bytes": f"{limit_bytes} byte"})
    assert found.runs[["rounds", "reason", "status"]].to_numpy().tolist() == [[rounds, "bytes", "completed"]]
    last = found.evaluations.iloc[-1]
    assert last["uplink_bytes"] + last["downlink_bytes"] == rounds * ROUND_BYTES


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
@pytest.mark.parametrize("name", ["bytes", "energy"])
def test_it_is_the_longer_run_up_to_there(algorithm: Any, name: str) -> None:
    """Ended at its fourth round or update: not sooner, not later, and nothing else has changed."""
    longer = run({"rounds": 7}, variants=[algorithm]).evaluations
    both = longer["uplink_bytes"] + longer["downlink_bytes"] if name == "bytes" else longer["energy_j"]
    at_end = longer.drop_duplicates("round").index  # what is refreshed within a round is evaluated at its end
    spent = both[at_end].tolist()
    limit = (spent[3] + spent[4]) / 2
    limited = run(
        {"rounds": 7, name: f"{limit!r} {'byte' if name == 'bytes' else 'J'}"}, variants=[algorithm]
    )

    assert limited.runs["reason"].tolist() == [name]
    assert limited.runs["rounds"].tolist() == [4]
    rows = limited.evaluations
    pd.testing.assert_frame_equal(rows, longer.iloc[: len(rows)])


def test_whichever_comes_first() -> None:
    assert run({"bytes": "1 GB", "rounds": 2}).runs["reason"].tolist() == ["rounds"]
    assert run({"bytes": f"{ROUND_BYTES} byte", "rounds": 1}).runs["reason"].tolist() == ["rounds"]
    assert run({"bytes": "1 GB", "time": "60 s"}).runs["reason"].tolist() == ["time"]
    assert run({"energy": "1 J", "bytes": "1 GB"}).runs["reason"].tolist() == ["energy"]


def test_progress_is_the_largest_share() -> None:
    seen: list[Progress] = []
    content = data(stop={"bytes": f"{4 * ROUND_BYTES} byte", "rounds": 400})
    simulate(read(content), timing_only=True, progress=seen.append)
    shares = [step.share for step in seen if step.status == "running"]
    assert shares == [0, 0.25, 0.5, 0.75, 1]


# Stops that never come.


@pytest.mark.parametrize("limits", [{"bytes": "1 MB"}, {"time": "1 s"}, {"bytes": "1 MB", "time": "1 s"}])
def test_a_run_that_spends_nothing_is_refused(limits: dict[str, Any]) -> None:
    """By the run itself, and by the check that tries a round first."""
    unlimited = {"compute": "8 FLOP/s"}
    link = {"up": "unlimited", "down": "unlimited"}
    fields: dict[str, Any] = {
        "workload": {"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": 8, "costs": FREE},
        "fleet": {"clients": 1, "groups": [{"device": unlimited, "link": link}]},
        "server": {"link": link},
    }
    content = read(data(stop=limits, **fields))
    for attempt in (
        lambda: simulate(content, timing_only=True),
        lambda: Session(content, Options(timing_only=True)).try_a_round(learn=False),
    ):
        with pytest.raises(ScenarioError) as caught:
            attempt()
        (problem,) = caught.value.problems
        assert problem.path == "stop"
        assert all(name in problem.found for name in limits)


@pytest.mark.parametrize(
    ("stop", "path"),
    [
        ({"energy": "5 kJ"}, "stop.energy"),  # nothing draws any
        ({"energy": "5 kJ", "rounds": 10}, "stop.energy"),
        ({"accuracy": "90%"}, "stop"),
        ({}, "stop"),
        ({"bytes": 5}, "stop.bytes"),
        ({"bytes": "5 kJ"}, "stop.bytes"),
        ({"bytes": "0 byte"}, "stop.bytes"),
        ({"bytes": "-1 MB"}, "stop.bytes"),
        ({"byte": "1 MB"}, "stop.byte"),
        ({"energy": "5"}, "stop.energy"),
        ({"energy": "5 W"}, "stop.energy"),
        ({"joules": "5 kJ"}, "stop.joules"),
    ],
    ids=str,
)
def test_what_is_no_stop_is_refused_where_it_stands(stop: dict[str, Any], path: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(data(stop=stop))
    assert path in [problem.path for problem in caught.value.problems]
    assert all(problem.allowed for problem in caught.value.problems)


# What is built on runs.


def learned(stop: dict[str, Any], cache: Path | None = None, **fields: Any) -> Run:
    fields = {"evaluate": {"every": "2 rounds"}, **fields}
    return simulate(read(data(stop=stop, **fields)), cache=cache)


def test_it_resumes_and_shares_with_a_run_by_rounds(tmp_path: Path) -> None:
    by_rounds = learned({"rounds": 3}, tmp_path)
    limited = learned({"bytes": f"{3 * ROUND_BYTES} byte"}, tmp_path)
    assert limited.manifest["computed_calls"] == {}
    pd.testing.assert_frame_equal(limited.evaluations, by_rounds.evaluations)


def test_a_target_that_the_bytes_did_not_reach_is_censored() -> None:
    variants = [{"algorithm": "splitfed-v1"}, {"algorithm": "fedavg"}]
    found = learned({"bytes": f"{4 * ROUND_BYTES} byte"}, variants=variants, seeds=[0, 1])
    ends = found.runs[found.runs["variant"] == "fedavg"]["time_s"]
    effects = compare(found.evaluations, found.runs, "splitfed-v1", 0.99).effects
    times = effects[(effects["measure"] == "time_s") & (effects["variant"] == "fedavg")].iloc[0]
    assert times["censored"] == 2
    assert times["value"] == pytest.approx(ends.prod() ** 0.5)  # at least: the geometric mean of the ends


def test_a_plan_ends_its_points_there() -> None:
    """A point takes what its own run takes: to the target or, where the bytes end it before, to its end."""
    block = {"decisions": {"variants[splitfed-v1].local_iterations": [1, 4]}, "objectives": ["time", "bytes"]}
    rate = {"client_optimizer": {"lr": 0.5}, "server_optimizer": {"lr": 0.5}}
    content = planned(
        block,
        variants=[{"algorithm": "splitfed-v1", **rate}],
        stop={"bytes": "45 MB"},
        target_accuracy="30%",
    )
    alone = {key: value for key, value in content.to_data().items() if key != "plan"}
    feasible = []
    for point in plan(content).points.to_dict(orient="records"):
        iterations = point["variants[splitfed-v1].local_iterations"]
        found = simulate(read(alone, [f"variants[splitfed-v1].local_iterations={iterations}"]))
        assert found.runs["reason"].tolist() == ["bytes"]
        reached = found.evaluations[found.evaluations["accuracy"] >= 0.3]
        row = (found.evaluations if reached.empty else reached).iloc[-1 if reached.empty else 0]
        assert (point["time_s"], point["rounds"]) == (row["time_s"], row["round"])
        assert point["exact"]
        assert point["feasible"] == (not reached.empty)
        feasible.append(point["feasible"])
    assert sorted(feasible) == [False, True]


def test_it_is_written_as_it_is_read() -> None:
    stop = {"bytes": "2 GiB", "energy": "5 kJ"}
    content = read(data(stop=stop, fleet={"clients": 2, "groups": DRAWING}))
    assert content.stop == sflsim.parse_scenario(content.to_yaml()).stop
    assert content.stop.limits == {"bytes": 2 * 2**30, "energy": 5000.0}
