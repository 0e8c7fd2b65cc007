"""A plan against brute force: every point simulated by itself, its figures read from the run's tables."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planned import FIRST_ORDER, MU_SPLITFED, SPLITFED_V1, planned, workloads
from support import read

import sflsim
from sflsim.planner.pareto import front, hypervolume
from sflsim.planner.plan import Plan, plan

pytest.importorskip("torch")

TARGET = 0.45
PRICES = {"server_hour": 0.4, "tflops_hour": 3.0, "gigabyte_up": 2.0, "groups": {"slow": {"gigabyte_up": 40}}}
VARIANTS = [
    SPLITFED_V1,
    {"algorithm": "splitfed-v2", **FIRST_ORDER},
    MU_SPLITFED,
]
SLOW_LINK = {"up": "4 Mbit/s", "down": "16 Mbit/s", "latency": "30 ms"}
DECISIONS: dict[str, list[Any]] = {
    "server.compute": ["10 GFLOP/s", "50 GFLOP/s", "200 GFLOP/s", "1 TFLOP/s"],
    "server.slots": [1, 4],
    "fleet.participants": [2, 4],
    "fleet.groups[slow].link": ["wifi", SLOW_LINK],
}


def scenario(**fields: Any) -> sflsim.Scenario:
    """Return a scenario whose plan spans 128 points: 4 variants, and every combination of DECISIONS."""
    block = {
        "decisions": DECISIONS,
        "objectives": ["time", "cost"],
        "prices": PRICES,
        "constraints": {"deadline": "70 s", "bytes_per_client": "12 MB"},
    }
    return planned(**({"block": block, "variants": VARIANTS, "target_accuracy": TARGET} | fields))


def by_brute_force(base: sflsim.Scenario) -> pd.DataFrame:
    """Return a row for each point: simulated without the planner, figures from the tables of its run."""
    store, rows = sflsim.MemoryStore(), []
    for values in product(*DECISIONS.values()):
        chosen = dict(zip(DECISIONS, values, strict=True))
        content = base.model_dump(mode="json", exclude={"plan", "sweep"})
        content["server"] |= {"compute": chosen["server.compute"], "slots": chosen["server.slots"]}
        content["fleet"]["participants"] = chosen["fleet.participants"]
        content["fleet"]["groups"][1]["link"] = chosen["fleet.groups[slow].link"]
        run = sflsim.simulate(read(content), store=store)
        tflops = chosen["server.slots"] * read(content).server.compute / 1e12
        for variant in base.variants:
            rows.append({"variant": variant.name, **chosen, **figures(run, variant.name, tflops)})
    return pd.DataFrame(rows)


def figures(run: sflsim.Run, variant: str, tflops: float) -> dict[str, float | bool]:
    """Return time and cost up to the target, and whether the constraints hold."""
    evaluations = run.evaluations[run.evaluations["variant"] == variant]
    reached = evaluations[evaluations["accuracy"] >= TARGET]
    if reached.empty:
        return {"time_s": np.nan, "cost": np.nan, "feasible": False}
    time_s = float(reached["time_s"].iloc[0])
    spans = run.spans[(run.spans["variant"] == variant) & (run.spans["end_s"] <= time_s)]
    spans = spans[spans["activity"].isin(["uplink", "downlink"])]
    up = spans[spans["activity"] == "uplink"]
    slow = up["client"].str.startswith("slow")
    cost = (
        time_s / 3600 * (0.4 + 3.0 * tflops)
        + (2 * up["bytes"][~slow].sum() + 40 * up["bytes"][slow].sum()) / 1e9
    )
    busiest = spans.groupby("client")["bytes"].sum().max()
    return {"time_s": time_s, "cost": cost, "feasible": time_s <= 70 and busiest <= 12e6}


@pytest.fixture(scope="module")
def found() -> Plan:
    return plan(scenario())


def test_the_front_is_that_of_brute_force(found: Plan) -> None:
    """On 128 points, one of the algorithms sensitive to event order: same front, same recommendation."""
    brute = by_brute_force(scenario())
    assert len(brute) == len(found.points) == 128
    feasible = brute[brute["feasible"]]
    assert 10 < len(feasible) < 128
    best = feasible[front(feasible[["time_s", "cost"]].to_numpy())]
    expected = sorted(zip(best["variant"], best["time_s"], best["cost"], strict=True))
    pareto = found.pareto
    actual = sorted(zip(pareto["variant"], pareto["time_s"], pareto["cost"], strict=True))
    assert len(expected) > 2
    assert [one[0] for one in actual] == [one[0] for one in expected]
    np.testing.assert_allclose([one[1:] for one in actual], [one[1:] for one in expected], rtol=1e-9)
    score = np.log(best["time_s"] / best["time_s"].min()) + np.log(best["cost"] / best["cost"].min())
    assert found.recommended is not None
    assert found.recommended["time_s"] == pytest.approx(best["time_s"][score.idxmin()], rel=1e-9)


def test_points_that_differ_in_timing_share_one_training(found: Plan) -> None:
    """The synchronous algorithms learn in six ways here; SplitFed V2 in as many as event orders ask for."""
    assert found.manifest["timed"] == 128
    assert found.manifest["trainings"] < 128 / 4


MANY_WAYS = {  # to learn: 2 cuts, 3 batches, 5 numbers of participants and 12 variants
    "workload": workloads([8, 16, 32]),
    "fleet.participants": [2, 3, 4, 5, 6],
}
DEAR = PRICES | {"tflops_hour": 100.0}  # so that a faster server is not always worth it


def large(decisions: dict[str, Any], variants: list[dict[str, Any]], **search: int) -> Plan:
    """Return a plan of two objectives for a target that a minority of the trainings reaches."""
    block = {"decisions": decisions, "objectives": ["time", "cost"], "prices": DEAR, "search": search}
    return plan(scenario(variants=variants, target_accuracy=0.6, block=block))


def assert_nearly_whole(some: Plan, whole: Plan) -> None:
    """Assert that a front has at least 98 % of the hypervolume of that of all points."""
    values = [one.pareto[["time_s", "cost"]].to_numpy() for one in (whole, some)]
    reference = values[0].max(axis=0) * 1.1
    assert hypervolume(values[1], reference) >= 0.98 * hypervolume(values[0], reference)


@pytest.mark.slow
def test_a_tenth_of_the_trainings_finds_nearly_the_whole_front() -> None:
    """Hypervolume within 2 % of that of all points with 36 of the 360 trainings that they share."""
    servers = {"server.compute": ["10 GFLOP/s", "40 GFLOP/s", "160 GFLOP/s"]}
    links = {"fleet.groups[slow].link": ["wifi", SLOW_LINK]}
    decisions = MANY_WAYS | servers | links
    variants = [
        VARIANTS[0] | {"local_iterations": [1, 2, 3, 4, 6, 8]},
        VARIANTS[2] | {"tau": [1, 2, 4, 8, 16, 32]},
    ]
    whole = large(decisions, variants, exact_up_to=10_000)
    some = large(decisions, variants, exact_up_to=0, timings=10_000, trainings=36)
    assert whole.manifest["timed"] == some.manifest["timed"] == 360 * 6
    assert some.manifest["trainings"] <= 36
    assert_nearly_whole(some, whole)


@pytest.mark.slow
def test_a_large_space_is_sampled_to_nearly_the_whole_front() -> None:
    """The same where less than a fifth of the points is timed, with half of the 48 trainings they share."""
    pytest.importorskip("optuna")
    decisions = {
        "workload": workloads([16, 32]),
        "fleet.participants": [2, 4, 6],
        "server.compute": {"from": "10 GFLOP/s", "to": "640 GFLOP/s", "steps": 7, "scale": "log"},
        "server.slots": [1, 2, 4],
        "fleet.groups[slow].link": ["wifi", SLOW_LINK],
    }
    variants = [VARIANTS[0] | {"local_iterations": [1, 2, 4]}, VARIANTS[2]]
    whole = large(decisions, variants, exact_up_to=10_000)
    some = large(decisions, variants, exact_up_to=0, timings=400, trainings=24)
    assert whole.manifest["combinations"] == 2016
    assert some.manifest["timed"] <= 400
    assert_nearly_whole(some, whole)


def test_saved_and_loaded_it_is_the_same(found: Plan, tmp_path: Path) -> None:
    """A plan's folder holds all of it."""
    loaded = Plan.load(found.save(tmp_path / "plan"))
    pd.testing.assert_frame_equal(loaded.points, found.points)
    pd.testing.assert_frame_equal(loaded.sensitivity, found.sensitivity)
    assert (loaded.explanation, loaded.manifest) == (found.explanation, found.manifest)
    assert loaded.scenario == found.scenario
    assert loaded.points.dtypes[["feasible", "pareto", "recommended"]].eq(bool).all()
