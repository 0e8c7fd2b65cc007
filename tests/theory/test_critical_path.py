"""Critical paths against rounds computed by hand, known bottlenecks, and laws that any run obeys.

The rounds by hand are those of test_mu_splitfed_round.py: FAST and SLOW under COSTS.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import COSTS, FAST, SLOW, UNLIMITED, data, read

import sflsim
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.explainer.bottleneck import Bottleneck, describe
from sflsim.metrics.critical_path import critical_path, shares, slowest
from sflsim.registry import algorithms
from sflsim.session import has_rounds

Piece = tuple[str, str, float, float]  # client, activity, start, end


def path_of(run: Run) -> pd.DataFrame:
    barriers = {config.name: has_rounds(config) for config in run.scenario.variants}
    return critical_path(run.spans, run.runs, barriers)


def pieces(variant: dict[str, Any], slots: int = 1, **fields: Any) -> list[Piece]:
    """Return the critical path of the first round of the two clients."""
    server = {**data()["server"], "slots": slots}
    path = path_of(simulate(read(data(variants=[variant], server=server, **fields)), timing_only=True))
    first = path[path["round"] == 1]
    return list(first[["client", "activity", "start_s", "end_s"]].itertuples(index=False, name=None))


def of_slow(*parts: tuple[str, float], begin_s: float = 0.0) -> list[Piece]:
    """Return pieces of slow-0 that lie end to end, each given by activity and end."""
    starts = [begin_s, *(end_s for _, end_s in parts)]
    return [("slow-0", name, start_s, end_s) for (name, end_s), start_s in zip(parts, starts, strict=False)]


BEGIN = (("downlink", 2), ("latency", 2.5), ("slowdown", 3.75), ("compute", 5.75))


def test_splitfed_v1_queues_for_the_one_slot() -> None:
    """slow's batch is in at 9.25 and waits for fast's step until 11; slow's end at 28 is the round's."""
    assert pieces({"algorithm": "splitfed-v1"}) == of_slow(
        *BEGIN, ("uplink", 8.75), ("latency", 9.25), ("queue", 11), ("serve", 18), ("downlink", 19),
        ("latency", 19.5), ("compute", 23.5), ("uplink", 27.5), ("latency", 28),
    )  # fmt: skip


def test_mu_splitfed_on_one_slot() -> None:
    """Its four steps and its scalar both queue; z+ and z- are on their way beside that."""
    assert pieces({"algorithm": "mu-splitfed", "tau": 4}) == of_slow(
        *BEGIN, ("uplink", 8.75), ("latency", 9.25), ("queue", 10), ("serve", 16), ("queue", 17.5),
        ("serve", 19), ("downlink", 19.5), ("latency", 20), ("uplink", 24), ("latency", 24.5),
    )  # fmt: skip


def test_mu_splitfed_waits_for_the_last_embeddings() -> None:
    """With one step on two slots z- is what the scalar waits for: three messages, one after another.

    z occupies the link 5.75 - 8.75, z+ to 10.75, z- to 12.75 and arrives at 13.25.
    """
    assert pieces({"algorithm": "mu-splitfed", "tau": 1}, slots=2) == of_slow(
        *BEGIN, ("uplink", 8.75), ("uplink", 10.75), ("uplink", 12.75), ("latency", 13.25), ("serve", 14.75),
        ("downlink", 15.25), ("latency", 15.75), ("uplink", 19.75), ("latency", 20.25),
    )  # fmt: skip


def test_over_selection_ends_with_the_first() -> None:
    """One is wanted, two are asked: the round is fast's alone, 16 s, and what slow does is no part of it."""
    fleet = {"clients": 2, "participants": 1, "groups": [FAST, SLOW]}
    found = pieces({"algorithm": "splitfed-v1", "over_selection": 1}, slots=2, fleet=fleet)
    assert {client for client, *_ in found} == {"fast-0"}
    ends_s = [1, 1.25, 2.25, 3.75, 4, 11, 11.5, 11.75, 13.75, 15.75, 16]
    assert [end_s for *_, end_s in found] == ends_s


def test_a_deadline_that_is_waited_for() -> None:
    """fast is done at 16 and the round lasts until 20, when slow is dropped: 4 s of waiting."""
    found = pieces({"algorithm": "splitfed-v1", "deadline": "20 s"}, slots=2, stop={"rounds": 2})
    assert found[-1] == ("fast-0", "wait", 16.0, 20.0)
    assert found[-3:-1] == [("fast-0", "uplink", 13.75, 15.75), ("fast-0", "latency", 15.75, 16.0)]


def test_a_broadcast_waits_for_the_slowest() -> None:
    """HO-SFL: what all hear at the end was brought by the last, whoever hears it last."""
    found = pieces({"algorithm": "ho-sfl"}, slots=2)
    assert [activity for _, activity, *_ in found][-4:] == ["uplink", "latency", "downlink", "latency"]
    assert {client for client, *_ in found} == {"slow-0"}


SETTINGS: dict[str, dict[str, Any]] = {
    "gas": {"q_c": 2, "q_s": 2},
    "zo-gas": {"q_c": 2, "q_s": 2},
    "mu-splitfed": {"tau": "adaptive"},
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", sorted(algorithms()))
def test_pieces_lie_end_to_end(name: str, seed: int) -> None:
    """Of every algorithm, on random fleets: they cover all time, each is part of a span, none is "other"."""
    groups = [
        {
            "name": place,
            "device": {"compute": {"kind": "exponential", "mean": "9 FLOP/s"}},
            "link": {"up": "5 byte/s", "down": "9 byte/s", "latency": {"kind": "exponential", "mean": "1 s"}},
            "straggler": {"kind": "exponential", "mean": "3 s", "redraw": "exchange"},
            "count": 3,
        }
        for place in ("here", "there")
    ]
    content = data(
        seeds=[seed],
        fleet={"clients": 6, "participants": 4, "groups": groups},
        server={"compute": "20 FLOP/s", "slots": 1 + seed % 2, "link": UNLIMITED},
        variants=[{"algorithm": name, **SETTINGS.get(name, {})}],
        stop={"rounds": 5},
    )
    try:
        scenario = read(content)
        run = simulate(scenario, timing_only=True)
    except sflsim.ScenarioError as error:
        pytest.skip(str(error))
    path, ended_s = path_of(run), float(run.runs["time_s"].iloc[0])
    assert "other" not in set(path["activity"])
    length_s = path["end_s"] - path["start_s"]
    assert (length_s > 0).all()
    rounds = has_rounds(scenario.variants[0])
    whole = run.spans[run.spans["activity"] == "contribution"]
    if rounds:
        assert path["round"].nunique() == 5
        windows = [(0.0, ended_s)]
    else:
        assert whole["round"].max() <= 5
        assert whole["end_s"].max() == ended_s
        windows = [one for one in zip(whole["start_s"], whole["end_s"], strict=True) if one[0] < one[1]]
    for window, (_, own) in zip(windows, path.groupby("contribution"), strict=True):
        pieces_s = list(own[["start_s", "end_s"]].itertuples(index=False, name=None))
        assert all(one[1] == other[0] for one, other in pairwise(pieces_s))
        assert (pieces_s[0][0], pieces_s[-1][1]) == window
    assert (length_s * path["weight"]).sum() == pytest.approx(length_s.sum())
    keys = ["actor", "client", "activity"]
    both = path.reset_index().merge(run.spans, on=keys, suffixes=("", "_span"))
    within = both[(both["start_s_span"] <= both["start_s"]) & (both["end_s"] <= both["end_s_span"])]
    assert set(within["index"]) == set(range(len(path)))
    groups_of = dict(zip(run.clients["client"], run.clients["group"], strict=True))
    assert shares(path, groups_of)["share"].sum() == pytest.approx(1)
    assert slowest(path, groups_of)["seconds"].sum() == pytest.approx(length_s.sum())
    assert slowest(path, groups_of)["rounds"].sum() == (5 if rounds else len(windows))


def alone(**fields: Any) -> dict[str, Any]:
    """Return one client whose every second is known: its rates, the server's and its delay vary."""
    rates = {"compute": 24.0, "up": 28.0, "server": 28.0, "delay": 1.0} | fields
    group = {
        "name": "phones",
        "device": {"compute": f"{rates['compute']} FLOP/s"},
        "link": {"up": f"{rates['up']} byte/s", "down": "24 byte/s"},
        "straggler": {"kind": "constant", "value": f"{rates['delay']} s"},
    }
    return data(
        fleet={"clients": 1, "groups": [group]},
        server={"compute": f"{rates['server']} FLOP/s", "link": UNLIMITED},
        stop={"rounds": 3},
    )


CASES = {
    "uplink": ({"up": 2.8}, "phones", 10.0, "uplink twice as fast"),
    "compute": ({"compute": 2.4}, "phones", 10.0, "devices twice as fast"),
    "serve": ({"server": 2.8}, "server", 10.0, "server twice as fast"),
    "slowdown": ({"delay": 10.0}, "phones", 10.0, "stragglers' delays half as long"),
}


@pytest.mark.parametrize("activity", CASES)
def test_the_known_bottleneck_is_named_and_priced(activity: str) -> None:
    """One part takes 10 s of a round, the other four 1 s each: 10/14 of the time, and halving it saves 5/14.

    SplitFed V1: down 16 + 8 byte, compute 8 + 16 FLOP, up 12 + 16 byte, server 3 + 25 FLOP, one delay.
    """
    rates, where, seconds, change = CASES[activity]
    found = sflsim.explain(simulate(read(alone(**rates)), timing_only=True))
    first = found.shares.iloc[0]
    assert (first["where"], first["activity"]) == (where, activity)
    assert first["seconds"] == pytest.approx(3 * seconds)
    assert first["share"] == pytest.approx(10 / 14)
    best = found.what_if.iloc[0]
    assert best["change"] == change
    assert best["time_s"] == pytest.approx(3 * 14)
    assert best["gain"] == pytest.approx(5 / 14)
    assert found.what_if["gain"].iloc[1:].max() == pytest.approx(0.5 / 14)
    assert found.words["splitfed-v1"].startswith("71 % of the time is ")
    none = found.what_if.set_index("change")["gain"]["twice the server slots"]
    assert none == pytest.approx(0, abs=1e-12)


def test_a_channel_is_scaled_as_a_whole() -> None:
    """Twice the bandwidth and the power of a radio channel are twice its rate."""
    content = alone()
    content["fleet"]["groups"][0]["link"] = {
        "kind": "shannon", "distance": "1 km", "bandwidth": "1 Hz", "noise": "1e-12 mW/Hz",
        "down": "24 byte/s",
    }  # fmt: skip
    run = simulate(read(content), timing_only=True)
    found = sflsim.explain(run)
    uplink = found.shares.set_index("activity")["share"]["uplink"]
    assert found.what_if.set_index("change")["gain"]["uplink twice as fast"] == pytest.approx(uplink / 2)


def test_what_cannot_be_scaled_has_no_row(tmp_path: Path) -> None:
    """Rates measured in a file stay as they are; a row that says 0 % would be false."""
    (tmp_path / "rates.csv").write_text("rate\n3\n5\n")
    content = alone()
    rates = {"kind": "empirical", "file": str(tmp_path / "rates.csv"), "values_in": "byte/s"}
    content["fleet"]["groups"][0]["link"]["up"] = rates
    found = sflsim.explain(simulate(read(content), timing_only=True)).what_if
    assert "uplink twice as fast" not in set(found["change"])
    assert "downlink twice as fast" in set(found["change"])


def test_learning_that_timing_changes_is_told_apart() -> None:
    """SplitFed V1 learns alike whatever the clock; an adaptive tau steps as often as there is time."""
    variants = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed", "tau": "adaptive"}]
    run = simulate(read(data(variants=variants)), timing_only=True)
    found = sflsim.explain(run).what_if.groupby("variant")["same_learning"]
    assert found.all()["splitfed-v1"]
    assert not found.all()["mu-splitfed"]


def test_the_time_to_the_target() -> None:
    """The target is what the best round of a trained run came to: the gain is that of the rounds up to it.

    Rounds are alike, so it is the share that all rounds save; where it is not reached, it is unknown.
    """
    variants = [
        {"algorithm": "splitfed-v1", "client_optimizer": {"lr": 0.3}, "server_optimizer": {"lr": 0.3}}
    ]
    content = data(variants=variants, stop={"rounds": 6})
    run = simulate(read(content))
    accuracies = run.evaluations["accuracy"].tolist()
    assert max(accuracies) > accuracies[0]
    round = accuracies.index(max(accuracies))
    tables = {name: getattr(run, name) for name in ("spans", "evaluations", "clients", "runs", "manifest")}
    known = Run(read(content | {"target_accuracy": f"{max(accuracies):.12f}"[:-1]}), **tables)
    found = sflsim.explain(known).what_if.iloc[0]
    assert found["target_s"] == run.evaluations["time_s"][round]
    assert found["target_gain"] == pytest.approx(found["gain"])
    assert found["gain"] > 0.1
    missed = Run(read(content | {"target_accuracy": "99.9%"}), **tables)
    assert sflsim.explain(missed).what_if["target_s"].isna().all()


def test_costs_are_what_the_closed_forms_take() -> None:
    """The figures of the bottlenecks above."""
    names = ("client_model", "activation", "labels", "client_forward", "client_backward")
    assert [COSTS[name].split()[0] for name in names] == ["16", "8", "4", "8", "16"]


@pytest.mark.parametrize(
    ("last", "rounds", "says"),
    [
        (
            {"phones": 1.0},
            3,
            "In 3 of 3 rounds that client is of group phones, 30 % of the fleet: too few",
        ),
        ({"phones": 1.0}, 30, "In every round that client is of group phones, 30 % of the fleet."),
        ({"pis": 0.7, "phones": 0.3}, 30, "No group has the last client more often than by chance."),
        ({"pis": 0.55, "phones": 0.45}, 300, "In 135 of 300 rounds that client is of group phones, 30 % of"),
    ],
)
def test_words_on_groups_say_what_the_rounds_can_tell(last: dict[str, float], rounds: int, says: str) -> None:
    """Standard deviation of a share of 30 % in 3 rounds: 26 %, in 30: 8 %, in 300: 2.6 %."""
    found = Bottleneck(pd.Series({"server": 1.0}), pd.Series(last), {"phones": 0.3, "pis": 0.7}, True, rounds)

    assert says in describe(found)
