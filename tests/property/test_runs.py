"""Whatever the scenario, a run obeys the clock's laws and ends; a spoiled one is refused by name."""

from __future__ import annotations

import math
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
import torch  # noqa: F401 (its import takes more memory than the bound)
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import COSTS, FAST, FREE, SIZES, SLOW, UNLIMITED, data, read, within_bounds

from sflsim.errors import ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.scenario import parse_scenario

RUNS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def amounts(unit: str, low: float, high: float, exact: tuple[float, ...] = ()) -> st.SearchStrategy[str]:
    """Return quantities in `unit`, some of them round so that things happen at once."""
    some = st.sampled_from([low, high, *exact])
    return (st.floats(low, high, allow_nan=False) | some).map(lambda value: f"{value!r} {unit}")


def laws(unit: str, low: float, high: float) -> st.SearchStrategy[Any]:
    """Return constants and distributions."""
    amount = amounts(unit, low, high)
    return st.one_of(
        amount,
        st.builds(lambda mean: {"kind": "exponential", "mean": mean}, amount),
        st.builds(
            lambda low, more: {"kind": "shifted-exponential", "shift": low, "mean": more}, amount, amount
        ),
        st.builds(lambda median: {"kind": "lognormal", "median": median, "sigma": 1.0}, amount),
    )


def redrawn(law: Any) -> Any:
    """Return a law of a link, drawn afresh for every message where it is a distribution."""
    return {**law, "redraw": "message"} if isinstance(law, dict) else law


LINKS = st.just(UNLIMITED) | st.fixed_dictionaries(
    {
        "up": st.just("unlimited") | laws("byte/s", 1, 100).map(redrawn),
        "down": laws("byte/s", 1, 100),
        "latency": laws("s", 0.125, 2).map(redrawn) | st.just("0 s"),
    }
)
STRAGGLERS = st.none() | st.one_of(
    st.builds(
        lambda mean, redraw: {"kind": "exponential", "mean": mean, "redraw": redraw},
        amounts("s", 0.5, 8),
        st.sampled_from(["client", "round", "exchange"]),
    ),
    st.just({"kind": "pareto", "scale": 1, "shape": 1.1, "effect": "multiplicative"}),
    st.just({"kind": "constant", "value": "0 s"}),
)
GROUPS = st.fixed_dictionaries(
    {
        "device": st.fixed_dictionaries(
            {"compute": laws("FLOP/s", 1, 50)},
            optional={"power": st.just({"idle": "1 W", "compute": "3 W", "send": "2 W", "receive": "1.5 W"})},
        ),
        "link": LINKS,
    }
)
VARIANTS = st.one_of(
    st.builds(
        lambda algorithm, iterations: {"algorithm": algorithm, "local_iterations": iterations},
        st.sampled_from(["splitfed-v1", "splitfed-v2"]),
        st.integers(1, 3),
    ),
    st.builds(
        lambda tau, tau_max, p: {
            "algorithm": "mu-splitfed",
            "tau": tau,
            "tau_max": tau_max,
            "perturbations": p,
        },
        st.sampled_from([1, 3, "adaptive"]),
        st.sampled_from([1, 2, 16]),
        st.integers(1, 2),
    ),
)


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid scenario of a few clients and rounds."""
    groups = draw(st.lists(GROUPS, min_size=1, max_size=2))
    counts = [draw(st.integers(1, 3)) for _ in groups]
    straggler = draw(STRAGGLERS)
    costs = {
        name: figure if name in SIZES else draw(amounts(figure.split()[1], 0, 32, (8,)))
        for name, figure in COSTS.items()
    }
    return data(
        seeds=[draw(st.integers(0, 2**63 - 1))],
        workload={"model": "mlp", "costs": costs},
        fleet={
            "clients": sum(counts),
            "participants": draw(st.integers(1, sum(counts))),
            "groups": [{**group, "count": count} for group, count in zip(groups, counts, strict=True)],
            **({"straggler": straggler} if straggler else {}),
        },
        server={
            "compute": draw(amounts("FLOP/s", 1, 50)),
            "slots": draw(st.integers(1, 3)),
            "link": draw(st.just(UNLIMITED) | st.just({"up": "20 byte/s", "down": "10 byte/s"})),
        },
        variants=[draw(VARIANTS)],
        stop={"rounds": draw(st.integers(1, 4)), **draw(st.just({}) | st.just({"time": "40 s"}))},
        evaluate={"every": draw(st.sampled_from(["1 round", "3 rounds", "16 s"]))},
    )


def overlapping(spans: pd.DataFrame) -> list[Any]:
    """Return pairs of spans in a row of which the first has not ended when the second starts."""
    rows = spans.sort_values(["start_s", "end_s"])[["start_s", "end_s"]].itertuples(index=False)
    return [(one, other) for one, other in pairwise(rows) if other.start_s < one.end_s]


@RUNS
@given(scenarios())
def test_laws_of_the_clock(content: dict[str, Any]) -> None:
    """Any valid scenario runs to its stop, and none of these happens in it.

    A device computes two things at once (or while it is held up); a span ends before it starts, or
    lies outside of the run; more jobs are served than there are slots, or two on one slot; V2's one
    model takes two steps at once; messages are sent at once on one direction of a link.
    """
    run = simulate(read(content), timing_only=True)
    spans, ended_s = run.spans, float(run.runs["time_s"].iloc[0])
    assert run.status == "completed"
    assert (spans["end_s"] >= spans["start_s"]).all()
    assert (spans["start_s"] >= 0).all()
    assert (spans["end_s"] <= ended_s).all()
    for _, own in spans[spans["activity"].isin(["compute", "slowdown"])].groupby("client"):
        assert not overlapping(own)
    served = spans[spans["activity"] == "serve"]
    for _, own in served.groupby("actor"):
        assert not overlapping(own)
    assert set(served["actor"]) <= {f"server:{slot}" for slot in range(content["server"]["slots"])}
    if content["variants"][0]["algorithm"] == "splitfed-v2":
        assert not overlapping(served)
    for (client, direction), own in spans[spans["activity"].isin(["uplink", "downlink"])].groupby(
        ["client", "activity"]
    ):
        assert not overlapping(own), (client, direction)


@RUNS
@given(scenarios())
def test_everything_adds_up(content: dict[str, Any]) -> None:
    """Bytes, busy times and energy of the spans are those of evaluations, clients and runs."""
    run = simulate(read(content), timing_only=True)
    spans, clients = run.spans, run.clients
    sums = spans.assign(seconds=spans["end_s"] - spans["start_s"]).groupby("activity")
    bytes_, seconds, flop = (sums[name].sum().to_dict() for name in ("bytes", "seconds", "flop"))
    last = run.evaluations.iloc[-1]
    for column, total in (
        ("uplink_bytes", bytes_.get("uplink", 0)),
        ("downlink_bytes", bytes_.get("downlink", 0)),
        ("client_busy_s", seconds.get("compute", 0)),
        ("server_busy_s", seconds.get("serve", 0)),
        ("energy_j", spans["active_energy_j"].sum() + clients["idle_j"].sum()),
    ):
        assert math.isclose(last[column], total, rel_tol=1e-9, abs_tol=1e-9), column
    assert (run.evaluations[["time_s", "round", "step", "uplink_bytes", "energy_j"]].diff()[1:] >= 0).all(
        axis=None
    )
    for column in ("uplink_bytes", "downlink_bytes", "energy_j"):
        assert math.isclose(clients[column].sum(), last[column], rel_tol=1e-9, abs_tol=1e-9), column
    assert math.isclose(clients["compute_s"].sum(), last["client_busy_s"], rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(clients["flop"].sum(), flop.get("compute", 0), rel_tol=1e-9, abs_tol=1e-9)


@settings(RUNS, max_examples=8)
@given(st.integers(0, 4), st.floats(0.0625, 4), st.integers(1, 3))
def test_messages_take_turns(seed: int, latency_s: float, iterations: int) -> None:
    """With a latency, the next message starts when the last has left the sender, and travels that long."""
    link = {"up": "7 byte/s", "down": "9 byte/s", "latency": f"{latency_s!r} s"}
    group = {"name": "any", "device": {"compute": "50 FLOP/s"}, "link": link}
    variants = [{"algorithm": "mu-splitfed", "perturbations": iterations}, {"algorithm": "splitfed-v1"}]
    content = data(
        seeds=[seed], fleet={"clients": 3, "groups": [group]}, variants=variants, stop={"rounds": 3}
    )
    spans = simulate(read(content), timing_only=True).spans
    messages = spans[spans["activity"].isin(["uplink", "downlink"])]
    touching = 0
    for _, own in messages.groupby(["variant", "client", "activity"]):
        ordered = own.sort_values("start_s")
        left = ordered["end_s"].to_numpy()[:-1]
        starts = ordered["start_s"].to_numpy()[1:]
        assert (starts >= left - 1e-9).all()
        touching += int((abs(starts - left) < 1e-9).sum())
    travels = spans[spans["activity"] == "latency"]
    assert len(travels) == len(messages)
    assert (travels["end_s"] - travels["start_s"]).to_numpy() == pytest.approx(latency_s)
    assert touching  # z+ and z- did wait for their turn


PLACES = st.sampled_from(["replace", "replace", "replace", "leave out"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 3, 0.5, -0.0, 1e-300, 1e300, 10**30, math.nan, math.inf]),
    st.sampled_from(["", "x", "0 s", "1e300 s", "-1 s", "nan s", "1 byte", "0 byte", "1e300 byte"]),
    st.sampled_from(["1e-9 FLOP/s", "1e300 FLOP/s", "1e-9 byte/s", "unlimited", "wifi", "adaptive", "mlp"]),
    st.sampled_from(
        ["cnn", "stm32h7", "dirichlet", "50%", "1 round", "0.001 s", "gaussian", "joint", "Adam"]
    ),
    st.sampled_from([[], {}, [1, 2], [0, 0], {"kind": "iid"}, {"kind": "dirichlet", "alpha": 0.1}]),
    st.sampled_from([2**31, 2**62, 2**63 - 1, 1e308, 5e-324, "1e30 FLOP/s", "1e-30 byte/s", "1e16 byte"]),
    st.sampled_from(["1e12 s", "1e17 s", "1 ms", "1e-9 s", "1e-300 byte", "2 s)", "2 s/0", "1 {", "9,5 s"]),
    st.builds(
        lambda on, off: {"kind": "markov", "on": on, "off": off},
        st.sampled_from(["1e-9 s", "1e9 s"]),
        st.sampled_from(["1 s", "1e12 s"]),
    ),
    st.sampled_from(
        [{"kind": "uniform", "low": "1 s", "high": "2 s"}, {"kind": "pareto", "scale": 1, "shape": 0.5}]
    ),
)


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value below `content`."""
    steps = content.items() if isinstance(content, dict) else enumerate(content)
    below = [((*path, step), value) for step, value in steps]
    return [
        place
        for here, value in below
        for place in (here, *(places(value, here) if isinstance(value, (dict, list)) else ()))
    ]


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a scenario with one to three of its values replaced or left out; its stop stays near."""
    variants = [
        {"algorithm": "splitfed-v1", "local_iterations": 2, "client_optimizer": {"name": "SGD", "lr": 0.1}},
        {"algorithm": "splitfed-v2", "weighting": "samples"},
        {"algorithm": "mu-splitfed", "tau": 2, "tau_max": 4, "perturbations": 2, "cut": 1},
    ]
    if draw(st.booleans()):
        variants = [
            {"algorithm": "fedavg", "local_iterations": 2, "over_selection": 0, "deadline": "60 s"},
            {"algorithm": "fedbuff", "b": 2, "eta_g": 1.0, "epochs": 1},
            {"algorithm": "heron-sfl", "local_iterations": 2, "q": 1, "mu": 1e-3},
        ]
    way = {"latency": "1 s", "jitter": "1 s", "loss": "1%", "packet": "4 byte", "duty_cycle": "50%"}
    slow = {**SLOW, "link": {**SLOW["link"], **way}, "availability": {"kind": "always"}}
    straggler = {"kind": "exponential", "mean": "1 s"}
    fleet = {"clients": 2, "participants": 2, "groups": [FAST, slow], "straggler": straggler}
    base = data(variants=variants, fleet=fleet, target_accuracy="50%", seeds=[0])
    content: dict[str, Any] = yaml.safe_load(yaml.safe_dump(base))  # no two places share a part
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(content)))
        holder: Any = content
        for step in path:
            holder = holder[step]
        if draw(PLACES) == "replace":
            holder[last] = deepcopy(draw(VALUES))
        else:
            del holder[last]
    return content


@settings(RUNS, max_examples=60)
@given(spoiled())
def test_spoiled_scenarios_run_or_are_refused(content: dict[str, Any]) -> None:
    """There is a Run or a ScenarioError with a path or a line, never another exception."""
    run_or_be_refused(content)


@pytest.mark.slow
@settings(RUNS, max_examples=2000)
@given(spoiled())
def test_2000_spoiled_scenarios(content: dict[str, Any]) -> None:
    """The same, and none takes more time or memory than the bounds."""
    with within_bounds():
        run_or_be_refused(content)


def run_or_be_refused(content: dict[str, Any]) -> None:
    """Check what comes of a spoiled scenario, on the clock alone."""
    try:
        scenario = parse_scenario(yaml.safe_dump(content, sort_keys=False), "spoiled.yaml")
        run = simulate(scenario, timing_only=True)
    except ScenarioError as error:
        result: Run | ScenarioError = error
    else:
        result = run
    if isinstance(result, ScenarioError):
        assert result.problems
        assert all(problem.found and problem.allowed and problem.file for problem in result.problems)
    else:
        assert result.status == "completed"


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "splitfed-v2", "mu-splitfed"])
def test_rounds_that_take_no_time_end_by_rounds(algorithm: str) -> None:
    """A scenario in which nothing takes any time ends at its last round, at time 0."""
    group = {"device": {"compute": "1 FLOP/s"}, "link": UNLIMITED}
    content = data(
        workload={"model": "mlp", "costs": FREE},
        fleet={"clients": 2, "groups": [group]},
        variants=[{"algorithm": algorithm}],
        stop={"rounds": 3},
    )
    runs = simulate(read(content), timing_only=True).runs
    assert runs[["rounds", "time_s", "reason"]].to_numpy().tolist() == [[3, 0.0, "rounds"]]


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "splitfed-v2", "mu-splitfed"])
def test_a_stop_that_never_comes_is_refused(algorithm: str) -> None:
    """Where rounds take no time, a stop by time alone is refused at its line once that shows."""
    group = {"device": {"compute": "1 FLOP/s"}, "link": UNLIMITED}
    content = data(
        workload={"model": "mlp", "costs": FREE},
        fleet={"clients": 2, "groups": [group]},
        variants=[{"algorithm": algorithm}],
        stop={"time": "1 s"},
    )
    with pytest.raises(ScenarioError, match="take no time") as caught:
        simulate(read(content), timing_only=True)
    assert caught.value.problems[0].file == "test.yaml"
    assert caught.value.problems[0].line is not None


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "splitfed-v2", "mu-splitfed"])
def test_times_beyond_the_clock_are_refused(algorithm: str) -> None:
    """1e16 byte at 1e-30 byte/s take longer than the clock counts."""
    group = {"device": {"compute": "1 FLOP/s"}, "link": {"up": "1e-30 byte/s", "down": "1e-30 byte/s"}}
    content = data(
        workload={"model": "mlp", "costs": {**COSTS, "activation": "1e16 byte"}},
        fleet={"clients": 2, "groups": [group]},
        variants=[{"algorithm": algorithm}],
    )
    with pytest.raises(ScenarioError, match="more than 1e\\+12 s"):
        simulate(read(content), timing_only=True)
