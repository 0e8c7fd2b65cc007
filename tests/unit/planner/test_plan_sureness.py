"""Limits of a plan, also of one group, what is left of them, and what the seeds' spread leaves open."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from support import data, read

import sflsim
from sflsim.errors import ScenarioError
from sflsim.planner.objectives import Estimate
from sflsim.planner.plan import Plan, plan
from sflsim.planner.spread import chance_better, chance_kept, deviation

VARIANTS = [{"algorithm": "splitfed-v1"}, {"algorithm": "splitfed-v2"}]


def planned(constraints: dict[str, Any], **fields: Any) -> Plan:
    block = {"decisions": {"server.slots": [1, 2]}, "objectives": ["time"], "constraints": constraints}
    return plan(read(data(variants=VARIANTS, stop={"rounds": 3}, plan=block, **fields)))


def by_group(found: Plan, number: int) -> dict[str, float]:
    """Return the most bytes that a client of each group sends and receives, from the tables of a run."""
    row = found.points.iloc[number]
    base = found.scenario
    chosen = {"server": base.server.model_copy(update={"slots": int(row["server.slots"])}), "plan": None}
    run = sflsim.simulate(base.model_copy(update=chosen), timing_only=True)
    clients = run.clients[run.clients["variant"] == row["variant"]]
    each = clients["uplink_bytes"] + clients["downlink_bytes"]
    return {str(group): float(most) for group, most in each.groupby(clients["group"]).max().items()}


def test_a_limit_on_the_bytes_of_a_group_holds_for_that_group() -> None:
    """In place of the general limit, which goes on holding for the others."""
    free = planned({})
    sizes = by_group(free, 0)
    assert set(sizes) == {"fast", "slow"}
    below, above = {name: f"{size - 1} byte" for name, size in sizes.items()}, "1 MB"
    assert not free.points["violated"].any()
    own = planned({"groups": {"slow": {"bytes_per_client": below["slow"]}}})
    assert set(own.points["violated"]) == {"groups.slow.bytes_per_client"}
    spared = {"bytes_per_client": below["fast"], "groups": {"fast": {"bytes_per_client": above}}}
    assert set(planned(spared | {"groups": {"fast": {"bytes_per_client": above}}}).points["violated"]) == {
        "bytes_per_client" if sizes["slow"] >= sizes["fast"] else ""
    }
    both = {name: {"bytes_per_client": above} for name in sizes}
    assert set(planned({"bytes_per_client": "1 byte", "groups": both}).points["violated"]) == {""}
    monthly = {"groups": {"fast": {"bytes_per_client_and_month": below["fast"]}}}
    assert set(planned(monthly).points["violated"]) == {"groups.fast.bytes_per_client_and_month"}


def test_a_limit_on_the_memory_of_a_group() -> None:
    """What the training may take of a group's devices, whatever they have."""
    assert planned({"groups": {"slow": {"device_memory": "1 kB"}}}).recommended is not None
    found = planned({"groups": {"slow": {"device_memory": "10 byte"}}})
    assert found.recommended is None
    assert set(found.points["violated"]) == {"groups.slow.device_memory"}


@pytest.mark.parametrize(
    ("constraints", "path"),
    [
        ({"groups": {"slwo": {"bytes_per_client": "1 MB"}}}, "plan.constraints.groups.slwo"),
        ({"groups": {"slow": {"bytes_per_client": 7}}}, "plan.constraints.groups.slow.bytes_per_client"),
        ({"groups": {"slow": {"budget": 7}}}, "plan.constraints.groups.slow.budget"),
    ],
)
def test_a_mistake_in_a_groups_limits_is_refused_at_its_place(constraints: dict[str, Any], path: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        planned(constraints)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_the_margin_to_each_limit_is_shown() -> None:
    """As a share of the limit; negative where it is violated."""
    limits = {"deadline": "1000 s", "server_memory": "1 kB", "bytes_per_client": "1 byte"}
    found = planned(limits | {"groups": {"slow": {"bytes_per_client": "10 kB"}}})
    points = found.points
    np.testing.assert_allclose(points["deadline_margin"], 1 - points["time_s"] / 1000)
    np.testing.assert_allclose(points["server_memory_margin"], 1 - points["server_memory_bytes"] / 1000)
    assert (points["bytes_per_client_margin"] < 0).all()
    assert (points["groups.slow.bytes_per_client_margin"] > 0).all()


def estimate(rows: list[list[float]]) -> Estimate:
    """Return an exact point by the objectives of its seeds."""
    by_seed = np.array(rows)
    return Estimate(by_seed.mean(axis=0), {}, True, {}, {}, by_seed, by_seed[:, 0])


def test_the_chance_is_that_of_a_paired_t_test() -> None:
    """Where differences are small the jackknife of the ratio of means is the paired t-test."""
    rng = np.random.default_rng(3)
    common = 100 + rng.normal(0, 1, 6)  # what both have of a seed, so that it tells nothing of them
    own, other = common + rng.normal(0, 0.02, 6), common + 0.01 + rng.normal(0, 0.02, 6)
    expected = stats.ttest_rel(other, own, alternative="greater").pvalue
    actual = chance_better(estimate(own[:, None].tolist()), estimate(other[:, None].tolist()), [1.0])
    assert actual == pytest.approx(expected, rel=0.02)


def test_chances_by_hand() -> None:
    """The same seeds shifted alike are certain; noise as large as the lead is not; one seed tells nothing."""
    fast, slow = [[1.0], [2.0], [4.0]], [[1.1], [2.2], [4.4]]
    assert chance_better(estimate(fast), estimate(slow), [1.0]) == 0.0
    assert chance_better(estimate(slow), estimate(fast), [1.0]) == 1.0
    assert chance_better(estimate(fast), estimate(fast), [1.0]) == 0.5
    assert 0.2 < chance_better(estimate([[1.0], [3.0]]), estimate([[3.1], [1.0]]), [1.0]) < 0.5
    assert math.isnan(chance_better(estimate([[1.0]]), estimate([[2.0]]), [1.0]))
    both = estimate([[1.0, 4.0], [2.0, 2.0]]), estimate([[4.0, 1.0], [2.0, 2.0]])
    assert chance_better(*both, [1.0, 1.0]) == pytest.approx(0.5)


def test_one_more_seed_keeps_a_limit() -> None:
    """The prediction interval of normal draws (here logarithms), by hand and by simulation."""
    times = np.exp([0.0, 0.2, 0.4])
    room = (math.log(2.0) - 0.2) / (0.2 * math.sqrt(4 / 3))
    assert chance_kept(times, 2.0) == pytest.approx(stats.t.cdf(room, 2))
    rng = np.random.default_rng(0)
    draws = np.exp(rng.normal(0.0, 0.3, (20_000, 4)))
    said = np.mean([chance_kept(row[:3], 1.2) for row in draws[:2000]])
    assert said == pytest.approx(np.mean(draws[:, 3] <= 1.2), abs=0.06)
    assert chance_kept(np.array([1.0, 1.0]), 1.0) == 1.0
    assert math.isnan(chance_kept(np.array([1.0, math.inf]), 2.0))
    assert math.isnan(chance_kept(np.array([1.0]), 2.0))
    assert deviation(np.array([1.0, 3.0])) == pytest.approx(math.sqrt(2))


def test_a_plan_says_what_its_seeds_leave_open() -> None:
    """One seed: nothing. Several: their spread, and how probable it is that another point is better."""
    assert planned({}).points[["time_sd_s", "chance_better"]].isna().all(axis=None)
    fleet = {**data()["fleet"], "straggler": {"kind": "exponential", "mean": "200 s"}}
    found = planned({"deadline": "2 h"}, seeds=[0, 1, 2], fleet=fleet)
    assert found.recommended is not None
    assert found.points["time_sd_s"].gt(0).all()
    chances = found.points.loc[~found.points["recommended"], "chance_better"]
    assert chances.between(0, 1).all()
    assert math.isnan(found.recommended["chance_better"])
