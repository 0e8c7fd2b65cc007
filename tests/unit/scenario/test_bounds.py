"""A number that a run could not be computed with is refused where it is written, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from support import FAST, data, read

from sflsim.errors import ScenarioError

ONE = {key: value for key, value in FAST.items() if key != "count"}
LINK = {"up": "1 byte/s", "down": "1 byte/s"}


def fleet(clients: int = 2, link: Mapping[str, Any] = LINK, **fields: Any) -> dict[str, Any]:
    """Return a scenario with a fleet of one group."""
    return data(fleet={"clients": clients, "groups": [{**ONE, "link": link}], **fields})


def variant(algorithm: str, **fields: Any) -> dict[str, Any]:
    return data(variants=[{"algorithm": algorithm, **fields}])


def workload(**fields: Any) -> dict[str, Any]:
    return data(workload={**data()["workload"], **fields})


def shannon(**fields: Any) -> dict[str, Any]:
    return fleet(link={"kind": "shannon", "distance": "1 km", **fields})


TABLE = [
    (workload(batch_size=2**62), "workload.batch_size", "in memory"),
    (workload(model={"kind": "mlp", "hidden": [10**6, 10**6]}), "workload.model.hidden", "in memory"),
    (workload(partition={"kind": "dirichlet", "alpha": 1e308}), "workload.partition.alpha", "alike"),
    (data(server={"slots": 2**62}), "server.slots", "in memory"),
    (data(stop={"rounds": 2**62}), "stop.rounds", "one by one"),
    (data(stop={"time": "1e17 s"}), "stop.time", "64-bit float"),
    (fleet(10**8), "fleet.clients", "participants"),
    (fleet(10**8, participants=10**7), "fleet.participants", "in memory"),
    (fleet(10**9, participants=10), "fleet.clients", "a draw"),
    (fleet(link={**LINK, "packet": "1e-300 byte"}), "fleet.groups[0].link.packet", "less than"),
    (fleet(link={**LINK, "packet": "0.5 byte"}), "fleet.groups[0].link.packet", "whole bytes"),
    (fleet(link={**LINK, "latency": "1 s", "jitter": "1e-300 s"}), "fleet.groups[0].link.jitter", "delay"),
    (shannon(distance="1e300 km"), "fleet.groups[0].link.distance", "path loss"),
    (shannon(distance="1e-300 km"), "fleet.groups[0].link.distance", "less than 1e-09 km"),
    (shannon(noise="1e-300 W/Hz"), "fleet.groups[0].link.noise", "64-bit floats"),
    (shannon(path_loss={"slope": "1e300 dB"}), "fleet.groups[0].link.path_loss.slope", "300 dB"),
    (variant("mu-splitfed", tau=2**62), "variants[0].tau", "one by one"),
    (variant("mu-splitfed", tau="adaptive", tau_max=2**62), "variants[0].tau_max", "one by one"),
    (variant("mu-splitfed", eta_s=1e308), "variants[0].eta_s", "32-bit floats"),
    (variant("mu-splitfed", perturbations=5000), "variants[0].perturbations", "draws"),
    (variant("splitfed-v1", client_optimizer={"lr": 1e308}), "variants[0].client_optimizer.lr", "32-bit"),
    (variant("splitfed-v1", over_selection=2**62), "variants[0].over_selection", "in memory"),
    (variant("fedavg", local_iterations=2**62), "variants[0].local_iterations", "one by one"),
    (variant("fedbuff", b=2**62), "variants[0].b", "in memory"),
    (variant("gas", q_c=2**62), "variants[0].q_c", "in memory"),
    (fleet(straggler={"kind": "exponential", "mean": "1e300 s"}), "fleet.straggler.mean", "64-bit float"),
    (data(plan={"weights": {"time": 1e300}}), "plan.weights.time", "64-bit floats"),
    (data(plan={"runs_per_month": 1e300}), "plan.runs_per_month", "64-bit floats"),
    (data(plan={"prices": {"device": 1e300}}), "plan.prices.device", "64-bit floats"),
    (data(plan={"search": {"exact_up_to": 2**62}}), "plan.search.exact_up_to", "in memory"),
    (data(plan={"search": {"timings": 2**62}}), "plan.search.timings", "in memory"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "path", "reason"), TABLE, ids=[path for _, path, _ in TABLE])
def test_a_number_beyond_a_bound_is_refused_with_the_reason(
    content: dict[str, Any], path: str, reason: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(content)
    (problem,) = caught.value.problems
    assert (problem.path, problem.line is None) == (path, False)
    assert reason in str(problem)


def test_the_largest_numbers_are_taken() -> None:
    """What stands at a bound is within it; amounts that may be zero may be as close to zero as they like."""
    scenario = read(data(stop={"rounds": 10**9, "time": "1e12 s"}, server={"slots": 10**6}))
    assert (scenario.stop.rounds, scenario.stop.time, scenario.server.slots) == (10**9, 1e12, 10**6)
    assert read(fleet(10**6)).fleet.participants_per_round == 10**6
    assert read(fleet(10**8, participants=10)).fleet.clients == 10**8
    assert read(fleet(link={**LINK, "latency": "1e-300 s"})).fleet.groups[0].link.latency == 1e-300
    (one,) = read(variant("fedavg", local_iterations=10**9)).variants
    assert one.local_iterations == 10**9
