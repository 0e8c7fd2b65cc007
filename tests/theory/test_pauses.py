"""Clients that pause, by hand: what absences do to computing, messages, energy, batteries and rounds.

One client is followed through a round of SplitFed V1. Without absences it receives the model from 0 to 2 s
(and 2.5 s), is held up until 3.75 s, computes until 5.75 s, sends until 8.75 s (9.25 s), is served until
16.25 s, receives until 17.25 s (17.75 s), computes until 21.75 s and sends until 25.75 s (26.25 s).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import FAST, SLOW, UNLIMITED, data

from sflsim.errors import ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.explainer.explain import explain
from sflsim.metrics.attribution import where_time_goes
from sflsim.scenario.schema import Scenario

POWER = {"idle": "1 W", "compute": "3 W", "send": "2 W", "receive": "1.5 W"}
END_S = 26.25
SERVER: dict[str, Any] = {"compute": "4 FLOP/s", "slots": 1, "link": UNLIMITED}
ROUTES: tuple[dict[str, Any], ...] = (UNLIMITED, {"up": "1 kB/s", "down": "1 kB/s"})
"""Links of the server: one that is not shared, one that is, and slows nobody down."""


def timed(content: dict[str, Any]) -> Run:
    """Return the run of a scenario on the clock."""
    return simulate(Scenario.model_validate(content), timing_only=True)


def away(group: str, *absences: tuple[float, float]) -> list[dict[str, Any]]:
    """Return the events of absences, each from one time to another."""
    return [
        {"at": f"{at_s} s", "group": group, kind: True}
        for left_s, back_s in absences
        for at_s, kind in ((left_s, "leave"), (back_s, "join"))
        if at_s < math.inf
    ]


def alone(*absences: tuple[float, float], link: Any = UNLIMITED, device: Any = (), **group: Any) -> Run:
    """Return the run of the client alone."""
    slow = {**SLOW, "on_absence": "pause", "device": {**SLOW["device"], **dict(device)}, **group}  # type: ignore[dict-item]
    fleet = {"clients": 1, "groups": [slow], "events": away("slow", *absences)}
    return timed(data(fleet=fleet, server={**SERVER, "link": link}))


def stretches(spans: pd.DataFrame, activity: str, client: str = "slow-0") -> list[tuple[Any, ...]]:
    """Return start, end, bytes and FLOP of the spans of one activity."""
    own = spans[(spans["actor"] == client) & (spans["activity"] == activity)].sort_values("start_s")
    return list(own[["start_s", "end_s", "bytes", "flop"]].itertuples(index=False, name=None))


CASES = {
    "receiving": (1, 4, "downlink", [(0, 1, 8, 0), (4, 5, 8, 0)], 3),
    "held up": (3, 10, "slowdown", [(2.5, 3, 0, 0), (10, 10.75, 0, 0)], 7),
    "computing": (4.75, 10, "compute", [(3.75, 4.75, 0, 4), (10, 11, 0, 4)], 5.25),
    "between two": (5.75, 9.75, "compute", [(3.75, 5.75, 0, 8)], 4),
    "sending": (7.25, 20, "uplink", [(5.75, 7.25, 6, 0), (20, 21.5, 6, 0)], 12.75),
    "a message to the server under way": (9, 12, "latency", [(2, 2.5, 0, 0), (8.75, 9.25, 0, 0)], 0),
    "at the server": (10, 15, "uplink", [(5.75, 8.75, 12, 0)], 0),
    "until after the server": (10, 20, "downlink", [(0, 2, 16, 0), (20, 21, 8, 0)], 3.75),
    "a message to it under way": (
        17.5, 20, "latency", [(2, 2.5, 0, 0), (8.75, 9.25, 0, 0), (17.25, 20, 0, 0)], 2.25,
    ),
}  # fmt: skip
"""Leaves, is back, an activity, its first spans (start, end, bytes, FLOP), and how much later all ends."""


@pytest.mark.parametrize("link", ROUTES, ids=["own link", "shared link"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_interrupted_goes_on_where_it_was(case: str, link: dict[str, Any]) -> None:
    """In every activity, over links of its own and shared ones; it takes as many bytes, FLOP and joules."""
    left_s, back_s, activity, expected, later_s = CASES[case]
    run = alone((left_s, back_s), link=link, device={"power": POWER})
    whole = alone((1e6, 2e6), link=link, device={"power": POWER}).clients.iloc[0]
    (client,), (row,) = run.clients.to_dict("records"), run.runs.to_dict("records")

    found = stretches(run.spans, activity)[: len(expected)]
    assert [pytest.approx(each, rel=1e-12) for each in expected] == found
    assert row["time_s"] == pytest.approx(END_S + later_s)
    assert stretches(run.spans, "absence") == [pytest.approx((left_s, back_s, 0, 0))]
    assert client["absence_s"] == pytest.approx(back_s - left_s)
    assert client["idle_j"] == pytest.approx(row["time_s"] - client["absence_s"])  # at 1 W, while it is there
    for name in ("flop", "uplink_bytes", "downlink_bytes", "compute_s", "slowdown_s"):
        assert client[name] == pytest.approx(whole[name]), name
    active_j = [one["energy_j"] - one["idle_j"] for one in (client, whole)]
    assert active_j[0] == pytest.approx(active_j[1])
    assert (client["wasted_s"], client["dropped"], row["status"]) == (0.0, 0, "completed")


@pytest.mark.parametrize("link", ROUTES, ids=["own link", "shared link"])
def test_a_battery_lasts_as_long_as_the_client_is_there(link: dict[str, Any]) -> None:
    """42.75 J last for 24 s of presence: idling 24, receiving 1.5, computing 12, sending 5.25."""
    for absences, empty_s in (((1e6, 2e6), 24.0), ((4.75, 10.0), 29.25)):
        run = alone(absences, link=link, device={"power": POWER, "battery": "42.75 J"})
        (row,), (client,) = run.runs.to_dict("records"), run.clients.to_dict("records")
        assert row["status"] == "stalled"
        assert row["time_s"] == pytest.approx(empty_s)
        assert client["energy_j"] == pytest.approx(42.75)
        assert run.spans["outcome"].iloc[-1] == "lost"


@pytest.mark.parametrize("link", ROUTES, ids=["own link", "shared link"])
@pytest.mark.parametrize("left_s", [4.75, 7.25, 9.0, 12.0, 17.5])
def test_an_absence_without_end_is_a_loss(left_s: float, link: dict[str, Any]) -> None:
    """Whoever never comes back loses its work as without a pause, in every activity."""
    lost, paused = (alone((left_s, math.inf), link=link, on_absence=rule) for rule in ("lose", "pause"))
    pd.testing.assert_frame_equal(lost.spans, paused.spans)
    pd.testing.assert_frame_equal(lost.clients, paused.clients)
    assert paused.runs["status"][0] == "stalled"


def test_after_an_absence_work_goes_on_at_the_rate_of_then(tmp_path: Path) -> None:
    """8 FLOP at 4 FLOP/s, half of them until 4.75 s; from 8 s on the rate is 2 FLOP/s: from 10 to 12 s."""
    file = tmp_path / "rates.csv"
    file.write_text("time_s,rate\n0,4\n8,2\n", encoding="utf-8")
    trace = {"kind": "trace", "file": str(file), "values_in": "FLOP/s"}
    spans = alone((4.75, 10), device={"compute": trace}).spans
    first, second = stretches(spans, "compute")[:2]
    assert (first[:2], second[:2]) == ((3.75, 4.75), pytest.approx((10, 12)))
    assert first[3] + second[3] == pytest.approx(8)


def test_others_have_the_shared_link_for_themselves_meanwhile() -> None:
    """Both send 12 bytes from 4 s on over 4 byte/s; b is away from 6 to 9 s: a ends at 8 s, b at 11 s."""
    like = {"count": 1, "device": {"compute": "4 FLOP/s"}, "link": {"up": "4 byte/s", "down": "8 byte/s"}}
    fleet = {
        "clients": 2,
        "groups": [{"name": "a", **like}, {"name": "b", **like, "on_absence": "pause"}],
        "events": away("b", (6, 9)),
    }
    server = {**SERVER, "link": {"up": "unlimited", "down": "4 byte/s"}}
    spans = timed(data(fleet=fleet, server=server)).spans
    assert stretches(spans, "uplink", "a-0")[0] == pytest.approx((4, 8, 12, 0))
    assert stretches(spans, "uplink", "b-0")[:2] == [
        pytest.approx((4, 6, 4, 0)), pytest.approx((9, 11, 8, 0)),
    ]  # fmt: skip


@pytest.mark.parametrize("rule", [{"deadline": "40 s"}, {"over_selection": 1}])
def test_a_round_drops_who_is_away(rule: dict[str, Any]) -> None:
    """It is dropped at the deadline, or once the other has finished; its absence is no wasted time."""
    fleet = {
        "clients": 2,
        "participants": 1 if "over_selection" in rule else 2,
        "groups": [FAST, {**SLOW, "on_absence": "pause"}],
        "events": away("slow", (4.75, 1000)),
    }
    content = data(fleet=fleet, variants=[{"algorithm": "splitfed-v1", **rule}], server=SERVER)
    run = timed(content)
    fast, slow = run.clients.to_dict("records")
    (row,) = run.runs.to_dict("records")

    # the other: 1.25 s of model, 1 s, 1 s of activations, 7 s at the server, 0.75 s, 2 s, 1.25 s of model
    assert row["time_s"] == pytest.approx(40.0 if "deadline" in rule else 14.25)
    assert (fast["dropped"], slow["dropped"]) == (0, 1)
    assert slow["absence_s"] == pytest.approx(row["time_s"] - 4.75)
    assert slow["wasted_s"] == pytest.approx(2.5 + 1.25 + 1.0)
    assert slow["idle_j"] == 0.0


def test_sequential_turns_wait_for_a_client_that_is_away() -> None:
    """SL: the turn of a client that pauses begins when it is back; that of others is skipped."""
    for rule, turns, begun_s in (("pause", 2, 100.0), ("lose", 1, math.nan)):
        slow = {**SLOW, "on_absence": rule}
        fleet = {"clients": 2, "groups": [FAST, slow], "events": away("slow", (1, 100))}
        content = data(fleet=fleet, variants=[{"algorithm": "sl", "local_iterations": 1}])
        run = timed(content)
        own = run.spans[run.spans["actor"] == "slow-0"]
        assert run.evaluations["step"].iloc[-1] == turns
        found_s = own.loc[own["activity"] != "absence", "start_s"].min()
        assert found_s == pytest.approx(begun_s, nan_ok=True)


def test_an_explanation_names_the_absence() -> None:
    """Of 39 s of a round, 12.75 s are the absence: on the critical path, and in the picture of the time."""
    run = alone((7.25, 20))
    shares = explain(run, what_if=False).shares.set_index("activity")
    assert shares.loc["absence", ["where", "seconds"]].tolist() == ["slow", pytest.approx(12.75)]
    assert shares.loc["uplink", "seconds"] == pytest.approx(7.0)
    assert shares["seconds"].sum() == pytest.approx(39.0)
    times = where_time_goes(run.spans).iloc[0]
    assert (times["absence"], times["uplink"], times["other"]) == pytest.approx((12.75, 7.0, 0.0))


@pytest.mark.parametrize("link", ROUTES, ids=["own link", "shared link"])
def test_work_that_never_ends_is_refused(link: dict[str, Any]) -> None:
    """Hours of work, a millisecond at a time: one error instead of a run without end."""
    flicker = {"kind": "markov", "on": "1 ms", "off": "1 ms"}
    with pytest.raises(ScenarioError) as caught:
        alone(link=link, availability=flicker, device={"compute": "1 FLOP/h"})
    assert caught.value.problems[0].path == "fleet"
