"""Bytes at each evaluation, added up as transfers end, are those that the kept spans show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import FAST, SLOW, data, read

from sflsim.clock import spans as recording
from sflsim.clock.spans import Recorder, with_arrivals
from sflsim.retime.timing import Timing, timings
from sflsim.retime.traffic import Traffic
from sflsim.rows import Span
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Session, SessionCache
from sflsim.sweeps.runner import SweepRunner
from sflsim.workers.pool import ignore

VARIANTS: list[dict[str, Any]] = [
    {"algorithm": "splitfed-v1", "local_iterations": 2},
    {"algorithm": "splitfed-v1", "over_selection": 2},
    {"algorithm": "mu-splitfed", "tau": 2, "deadline": "20 s"},
    {"algorithm": "gas", "q_c": 2, "q_s": 2},
    {"algorithm": "fedasync"},
]
FLEETS: list[dict[str, Any]] = [{}, {"availability": {"kind": "markov", "on": "90 s", "off": "20 s"}}]
ARRAYS = ("rounds", "time_s", "energy_j", "up_bytes", "down_bytes", "busiest_bytes")


def scenario(variant: dict[str, Any], **fields: Any) -> Scenario:
    """Return a scenario in which clients are dropped, and cut off where the fleet says so."""
    groups = [{**FAST, "name": "near-by", "count": 3}, {**SLOW, "count": 3}]
    straggler = {"kind": "exponential", "mean": "8 s"}
    fleet = {"clients": 6, "participants": 3, "groups": groups, "straggler": straggler}
    fleet |= fields.pop("fleet", {})
    return read(
        data(
            variants=[variant],
            fleet=fleet,
            stop={"rounds": 12},
            **{"evaluate": {"every": "5 rounds"}, **fields},
        )
    )


def timed(one: Scenario, keep: bool) -> Timing:
    return timings(one, [1], SessionCache(), keep=keep)[0]


def by_hand(timing: Timing, groups: list[str]) -> tuple[list[list[float]], ...]:
    """Sum up the spans anew for every evaluation, by the table of clients."""
    assert timing.outcome is not None
    group_of = {client.client: client.group for client in timing.outcome.clients}
    up, down, busiest = [], [], []
    for now_s in timing.time_s:
        sums = {(activity, group): 0.0 for activity in ("uplink", "downlink") for group in groups}
        each = dict.fromkeys(group_of, 0.0)
        for span, arrival_s in with_arrivals(timing.outcome.spans):
            if span.activity in ("uplink", "downlink") and arrival_s <= now_s:
                sums[span.activity, group_of[span.client]] += span.bytes
                each[span.client] += span.bytes
        up.append([sums["uplink", group] for group in groups])
        down.append([sums["downlink", group] for group in groups])
        most = [[size for one, size in each.items() if group_of[one] == group] for group in groups]
        busiest.append([max(sizes) for sizes in most])
    return up, down, busiest


@pytest.mark.parametrize("evaluate", [{"every": "5 rounds"}, {"every": "97 s"}], ids=["rounds", "seconds"])
@pytest.mark.parametrize("fleet", FLEETS, ids=["always there", "come and go"])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "-".join(map(str, variant.values())))
def test_a_timing_needs_no_spans(
    monkeypatch: pytest.MonkeyPatch, variant: dict[str, Any], fleet: dict[str, Any], evaluate: dict[str, str]
) -> None:
    """To the last bit as with spans, and as summed up by hand, however often they are folded."""
    one = scenario(variant, fleet=fleet, evaluate=evaluate)
    kept = timed(one, keep=True)
    monkeypatch.setattr(recording, "FLUSH_SPANS", 3)
    bare = timed(one, keep=False)
    assert bare.outcome is None
    for name in ARRAYS:
        assert getattr(bare, name).tolist() == getattr(kept, name).tolist(), name
    up, down, busiest = by_hand(kept, ["near-by", "slow"])
    assert (bare.up_bytes.tolist(), bare.down_bytes.tolist()) == (up, down)
    assert bare.busiest_bytes.tolist() == busiest
    assert max(busiest[-1]) > 0


def test_what_ends_in_the_instant_of_an_evaluation_belongs_to_it() -> None:
    """Even where it is recorded after it; the next row begins with what ends later."""

    def span(client: str, activity: str, end_s: float, size_bytes: float) -> Span:
        return Span(client, activity, 0.0, end_s, 0, client, size_bytes)

    traffic = Traffic(["a", "b-c"])
    traffic.evaluated(0.0)
    traffic.add([span("a-0", "uplink", 1.0, 10.0), span("a-0", "compute", 2.0, 5.0)])
    traffic.evaluated(2.0)
    traffic.add([span("b-c-0", "downlink", 2.0, 7.0), span("a-0", "downlink", 3.0, 4.0)])
    traffic.evaluated(3.0)
    traffic.evaluated(3.0)
    up, down, most = traffic.rows()
    np.testing.assert_array_equal(up, [[0, 0], [10, 0], [10, 0], [10, 0]])
    np.testing.assert_array_equal(down, [[0, 0], [0, 7], [4, 7], [4, 7]])
    np.testing.assert_array_equal(most, [[0, 0], [10, 7], [14, 7], [14, 7]])


def test_timings_and_points_of_a_sweep_keep_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their recorders keep no span, and a sweep's figures are those of a session that keeps them."""
    left: list[int] = []
    finished = Recorder.final_spans

    def counted(self: Recorder) -> list[Span]:
        left.append(len(self.spans))
        return finished(self)

    monkeypatch.setattr(Recorder, "final_spans", counted)
    one = scenario(VARIANTS[0])
    timed(one, keep=False)
    row = SweepRunner(Options(timing_only=True)).run(ignore, one, 0, 1).row
    assert left == [0, 0]
    outcome = Session(one, Options(timing_only=True)).run(0, 1, lambda row: None)
    assert left[2] > 100
    last = outcome.evaluations[-1]
    for name in ("uplink_bytes", "downlink_bytes", "client_busy_s", "energy_j"):
        assert row[name] == getattr(last, name)
    assert row["server_busy_s"] == outcome.server_busy_s
