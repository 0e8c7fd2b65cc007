"""Policies of selection in whole runs: predicted times, limits, availability, refusals, large fleets."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
import pytest
from support import FAST, SLOW, UNLIMITED, data, read, whole, within_bounds

from sflsim.errors import ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.explainer.explain import explain
from sflsim.fleet.selection.policy import Candidates, Policy, SelectionConfig
from sflsim.registry import algorithms, config_of, forgetting, register_selection
from sflsim.sweeps.sweep import sweep

SYNCHRONOUS = (
    *("splitfed-v1", "splitfed-v2", "mu-splitfed", "zo-splitfed", "ho-sfl", "cse-fsl", "heron-sfl"),
    *("frozen-client", "fedavg"),
)
HAVE_IT = [
    name for name, one in algorithms().items() if "aggregate_clients_every" in config_of(one).model_fields
]
ALONE = 1e-9
"""Of a round's time: what rounding may change."""


def run(selection: Any = "uniform", groups: Any = (FAST, SLOW), **fields: Any) -> Run:
    """Return a timing-only run of a fleet in which everybody may take part in each round."""
    fleet = {"clients": sum(group["count"] for group in groups), "groups": list(groups)}
    fleet |= {"selection": selection} | fields.pop("fleet", {})
    return simulate(read(data(fleet=fleet, **fields)), timing_only=True)


def who(one: Run) -> list[tuple[int, str]]:
    """Return (round, client) of everybody who took part."""
    of_clients = one.spans[one.spans["client"] == one.spans["actor"]]
    return sorted(set(zip(of_clients["round"], of_clients["client"], strict=True)))


def end_s(one: Run) -> float:
    """Return when the client of a run of one round had ended its part."""
    uplinks = whole(one.spans).query("activity == 'uplink'")
    asks_back = one.scenario.variants[0].algorithm == "ho-sfl"  # a broadcast follows
    return float(uplinks["end_s"].max() if asks_back else one.runs["time_s"].iloc[0])


def check_predicted(slow: dict[str, Any], time_s: float, **fields: Any) -> None:
    """Assert that FedCS predicts `time_s` for the slow client: it takes part within that, not within less."""
    for within_s, clients in ((time_s * (1 + ALONE), 2), (time_s * (1 - ALONE), 1)):
        one = run({"kind": "fedcs", "within": f"{within_s!r} s"}, [FAST, slow], **fields)
        assert len(who(one)) == clients


@pytest.mark.parametrize("algorithm", SYNCHRONOUS)
def test_predicted_times_are_those_of_a_client_alone(algorithm: str) -> None:
    """No algorithm says a second time how long its parts take."""
    one_batch = {"local_iterations": 1} if algorithm == "fedavg" else {}
    fields: dict[str, Any] = {"variants": [{"algorithm": algorithm, **one_batch}]}
    check_predicted(SLOW, end_s(run(groups=[SLOW], **fields)), **fields)


EXPONENTIAL = {"kind": "exponential", "mean": "1.25 s"}


PER_MESSAGE = {"redraw": "message"}
UNIFORM = {"kind": "uniform", "low": "2 byte/s", "high": "6 byte/s", **PER_MESSAGE}


def linked(**keys: Any) -> dict[str, Any]:
    """Return a group's link: the slow one's with other keys."""
    own: Any = SLOW["link"]
    return {"link": {**own, **keys}}


@pytest.mark.parametrize(
    ("drawn", "mean"),
    [
        ({"straggler": EXPONENTIAL}, {}),
        ({"straggler": {**EXPONENTIAL, "redraw": "client"}}, {}),
        ({"straggler": {**EXPONENTIAL, "correlation": 0.5}}, {}),
        ({"straggler": {"kind": "constant", "value": "5 s", "bursts": {"slow": 2, "normal": 6}}}, {}),
        (
            {"straggler": {"kind": "uniform", "low": 1.0, "high": 3.0, "effect": "multiplicative"}},
            {"straggler": None, "device": {"compute": "2 FLOP/s"}},
        ),
        (linked(latency={"kind": "exponential", "mean": "0.5 s", **PER_MESSAGE}), {}),
        (linked(latency="0.25 s", jitter={"kind": "exponential", "mean": "0.25 s"}), {}),
        (linked(jitter="0.1 s"), {}),
        (linked(loss="50%"), linked(up="2 byte/s", down="4 byte/s")),
        (linked(up=UNIFORM), {}),
    ],
)
def test_predictions_take_means(drawn: dict[str, Any], mean: dict[str, Any]) -> None:
    """What is drawn anew counts with its mean, by hand; nobody knows who will be a persistent straggler."""
    check_predicted({**SLOW, **drawn}, end_s(run(groups=[{**SLOW, **mean}])))


HEAVY_TAIL = {"kind": "pareto", "scale": "1 s", "shape": 1.0}


@pytest.mark.parametrize("selection", [{"kind": "fedcs", "within": "1e9 s"}, {"kind": "tifl", "tiers": 1}])
@pytest.mark.parametrize(
    "drawn", [{"straggler": HEAVY_TAIL}, linked(jitter=HEAVY_TAIL)], ids=["delay", "link"]
)
def test_what_has_no_mean_is_not_predicted(selection: dict[str, Any], drawn: dict[str, Any]) -> None:
    """A Pareto law of shape 1 has none, so the policy is refused; with a cap or observed times not."""
    heavy, other = {**SLOW, **drawn}, {**FAST, "count": 3}
    with pytest.raises(ScenarioError) as caught:
        run(selection, [other, heavy])
    (problem,) = caught.value.problems
    assert (problem.path, problem.line is not None) == ("fleet.selection", True)
    assert next(iter(drawn)) in problem.found
    assert run(selection | {"times": "observed"}, [other, heavy]).status == "completed"
    capped = {key: {**law, "cap": "9 s"} for key, law in drawn.items() if key == "straggler"}
    assert not capped or run(selection, [other, {**SLOW, **capped}]).status == "completed"
    assert run("fedcs", [other, heavy]).status == "completed"  # predicts nothing


@pytest.mark.parametrize("algorithm", HAVE_IT)
def test_rounds_that_differ_are_predicted_by_their_mean(algorithm: str) -> None:
    """With I = 3 a part comes down in one round of three, up in another; FSL-SAGE fits in each second."""
    cycle = {"aggregate_clients_every": 3} | ({"fit_every": 2} if algorithm == "fsl-sage" else {})
    rounds = 6 if algorithm == "fsl-sage" else 3
    fields: dict[str, Any] = {
        "variants": [{"algorithm": algorithm, **cycle}],
        "evaluate": {"every": "1 round"},
    }
    ends_s = run(groups=[SLOW], stop={"rounds": rounds + 1}, **fields).evaluations.set_index("round")[
        "time_s"
    ]
    assert ends_s.diff().nunique() > 1
    check_predicted(SLOW, float(ends_s[rounds + 1] - ends_s[1]) / rounds, **fields)


def test_predictions_do_not_depend_on_a_deadline() -> None:
    """A client is predicted as it would work if nobody dropped it."""
    time_s = end_s(run(groups=[SLOW]))
    check_predicted(SLOW, time_s, variants=[{"algorithm": "splitfed-v1", "deadline": "1 s"}])


def test_epochs_are_predicted_by_a_clients_own_samples() -> None:
    """FedAvg computes for one epoch: alike devices with other shards differ."""
    groups = [{**FAST, "count": 4, "link": UNLIMITED}]
    fields: dict[str, Any] = {
        "variants": [{"algorithm": "fedavg"}],
        "server": {"compute": "4 FLOP/s"},
        "workload": {**data()["workload"], "partition": {"kind": "dirichlet", "alpha": 0.5}},
    }
    computing = run(groups=groups, **fields).spans.query("activity == 'compute'").set_index("client")
    times_s = (computing["end_s"] - computing["start_s"]).sort_values()
    assert times_s.nunique() > 1

    within = {"kind": "fedcs", "within": f"{float(times_s.iloc[0])!r} s"}

    assert {client for _, client in who(run(within, groups, **fields))} == {times_s.index[0]}


def some(kind: Literal["always", "markov"], selection: Any, algorithm: str = "splitfed-v1") -> Run:
    """Return a run of a few rounds with sampling, over-selection and a deadline where there are rounds."""
    availability = {"kind": kind} | ({"on": "60 s", "off": "30 s"} if kind == "markov" else {})
    straggler = {"kind": "exponential", "mean": "1 s"}
    fleet = {"participants": 3, "availability": availability, "straggler": straggler}
    groups = [{**FAST, "count": 6}, {**SLOW, "count": 4}]
    rounds = {"over_selection": 1, "deadline": "20 s"} if algorithm == "splitfed-v1" else {}
    variants = [{"algorithm": algorithm, **rounds}]
    workload = {**data()["workload"], "partition": {"kind": "dirichlet", "alpha": 0.1}}
    return run(selection, groups, fleet=fleet, variants=variants, stop={"rounds": 6}, workload=workload)


@pytest.mark.parametrize("kind", ["always", "markov"])
def test_fedcs_without_a_deadline_is_a_uniform_run(kind: Literal["always", "markov"]) -> None:
    """To the last span."""
    pd.testing.assert_frame_equal(some(kind, "uniform").spans, some(kind, "fedcs").spans)


@pytest.mark.parametrize("kind", ["always", "markov"])
@pytest.mark.parametrize("algorithm", ["splitfed-v1", "sl", "fedasync"])
def test_by_samples_runs_with_every_kind_of_algorithm(
    kind: Literal["always", "markov"], algorithm: str
) -> None:
    """Also where there are no rounds; and it draws others than uniform selection does."""
    one = some(kind, "by-samples", algorithm)
    assert one.status == "completed"
    assert who(one) != who(some(kind, "uniform", algorithm))


def test_observed_times_leave_out_who_was_slow() -> None:
    """Persistent stragglers take part until they have been observed, and are never asked again."""
    groups = [{**FAST, "count": 6}, {**SLOW, "count": 4}]
    selection = {"kind": "fedcs", "times": "observed", "within": "5 s"}
    one = run(selection, groups, fleet={"participants": 3}, stop={"rounds": 20})
    slow = [round for round, client in who(one) if client.startswith("slow")]
    assert max(slow) < 10


@pytest.mark.parametrize("algorithm", ["sl", "fedasync", "fedbuff", "zo-gas"])
def test_round_times_need_rounds(algorithm: str) -> None:
    """The reason is given at the policy."""
    with pytest.raises(ScenarioError) as caught:
        run({"kind": "fedcs", "within": "5 s"}, variants=[{"algorithm": algorithm}])
    (problem,) = caught.value.problems
    assert (problem.path, problem.line is not None) == ("fleet.selection", True)
    assert algorithm in problem.found


@pytest.mark.parametrize("setting", [{"times": "observed"}, {"candidates": 5}])
def test_settings_of_fedcs_that_do_nothing(setting: dict[str, Any]) -> None:
    """Without an end that is to be met nobody's time is looked at."""
    with pytest.raises(ScenarioError) as caught:
        run({"kind": "fedcs", **setting})
    (problem,) = caught.value.problems
    assert (problem.path, problem.line is not None) == (f"fleet.selection.{next(iter(setting))}", True)


class Wrong(Policy):
    """Chooses whom it is told to, candidate or not."""

    class Config(SelectionConfig):
        """Whom."""

        kind: Literal["wrong"] = "wrong"
        whom: list[int]

    def choose(self, round: int, k: int, candidates: Candidates) -> list[int]:
        whom: list[int] = self.config.whom
        return whom


@pytest.mark.parametrize("whom", [[], [2], [0, 0], [-1]])
def test_a_policy_that_chooses_no_candidates(whom: list[int]) -> None:
    """One clear error."""
    with forgetting():
        register_selection(Wrong)
        with pytest.raises(ScenarioError) as caught:
            run({"kind": "wrong", "whom": whom})
    assert [problem.path for problem in caught.value.problems] == ["fleet.selection"]


def test_a_large_fleet_costs_what_its_candidates_cost() -> None:
    """Of 100,000 devices, each with rates of its own, a round predicts the candidates alone."""
    rate = {"kind": "lognormal", "median": "8 FLOP/s", "sigma": 0.5}
    groups = [{**FAST, "count": 100_000, "device": {"compute": rate}}]
    selection = {"kind": "fedcs", "within": "1 h", "candidates": 50}
    with within_bounds():
        one = run(selection, groups, fleet={"participants": 10}, stop={"rounds": 3})
    assert len(who(one)) == 30


def test_explain_tells_what_another_policy_takes() -> None:
    """Rounds of the fastest clients take less than uniform ones; a uniform run is told of neither."""
    groups = [{**FAST, "count": 3}, {**SLOW, "count": 3}]
    one = run({"kind": "tifl", "tiers": 2}, groups, fleet={"participants": 3}, stop={"rounds": 8})
    gains = explain(one).what_if.set_index("change")["gain"]
    assert gains["selection of the fastest clients"] > max(0.0, gains["uniform selection"])
    assert not any("selection" in name for name in explain(run(groups=groups)).what_if["change"])


def test_a_sweep_over_policies() -> None:
    """A field like any other: its values are rows of one table."""
    groups = [{**FAST, "count": 3}, {**SLOW, "count": 3}]
    fleet = {"clients": 6, "participants": 3, "groups": groups}
    policies = ["uniform", {"kind": "fedcs", "within": "1e9 s"}]
    table = sweep(read(data(fleet=fleet)), {"fleet.selection": policies}, timing_only=True).table
    times_s = table["time_s"].tolist()
    assert times_s[1] < times_s[0]
