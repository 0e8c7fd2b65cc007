"""Traces obey the rules of the Trace Event format, and say what the spans say.

The rules are those of the format's public description: an object with `traceEvents`; every event has
`ph`, `pid`, `tid`, `ts` (µs) and `name`; "X" has `dur`; slices of one thread nest and never overlap in part;
"s" and "f" of one arrow share name, category and id and lie within slices; metadata names all threads.
"""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support import FAST, SLOW, data, read, whole

from sflsim.errors import RunError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

Event = dict[str, Any]
VARIANTS = [
    {"algorithm": "splitfed-v1"},
    {"algorithm": "mu-splitfed", "tau": 2},
    {"algorithm": "cse-fsl"},
    {"algorithm": "fedbuff", "b": 2},
    {"algorithm": "sl"},
]
KEYS = {
    "X": {"name", "cat", "ph", "pid", "tid", "ts", "dur", "args"},
    "M": {"name", "ph", "pid", "tid", "ts", "args"},
    "C": {"name", "ph", "pid", "tid", "ts", "args"},
    "s": {"name", "cat", "id", "ph", "pid", "tid", "ts"},
    "f": {"name", "cat", "id", "ph", "bp", "pid", "tid", "ts"},
}


@pytest.fixture(scope="module")
def run() -> Run:
    """Five algorithms, two seeds; messages overlap on the links, jobs queue, rates are not round."""
    power = {"power": {"idle": "1 W", "compute": "3 W", "send": "2 W"}}
    groups = [
        {**FAST, "device": {**FAST["device"], **power}, "count": 3},
        {
            **SLOW,
            "link": {**SLOW["link"], "latency": "4 s"},
            "straggler": {"kind": "exponential", "mean": "0.777 s"},
        },
    ]
    fields = {"fleet": {"clients": 4, "groups": groups}, "seeds": [0, 1], "stop": {"rounds": 3}}
    return simulate(read(data(variants=VARIANTS, **fields)), timing_only=True)


@pytest.fixture(scope="module")
def events(run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    path = run.trace(tmp_path_factory.mktemp("trace") / "trace.json")
    content = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    assert set(content) == {"displayTimeUnit", "traceEvents"}
    return list(content["traceEvents"])


def of(events: list[Event], ph: str) -> list[Event]:
    return [event for event in events if event["ph"] == ph]


def by_thread(events: list[Event]) -> dict[tuple[int, int], list[Event]]:
    threads = defaultdict(list)
    for event in events:
        threads[event["pid"], event["tid"]].append(event)
    return threads


def test_every_event_has_its_fields(events: list[Event]) -> None:
    """No field is missing or unknown; names come first; times are never negative and never go back."""
    for event in events:
        assert set(event) == KEYS[event["ph"]], event
        assert event["ts"] >= 0
        assert event.get("dur", 0) >= 0
    assert {event["ph"] for event in events} == set(KEYS)
    kinds = "".join("M" if event["ph"] == "M" else "." for event in events)
    assert "M" not in kinds.lstrip("M")
    for pid in {event["pid"] for event in events}:
        times = [event["ts"] for event in events if event["pid"] == pid]
        assert times == sorted(times)


def test_processes_and_threads_are_named(events: list[Event], run: Run) -> None:
    """One process per variant and seed; every thread that has a slice has one name, no two the same."""
    named = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in of(events, "M")
        if event["name"] == "thread_name"
    }
    assert set(by_thread(of(events, "X"))) == set(named)
    assert len({(pid, name) for (pid, _), name in named.items()}) == len(named)
    processes = [event["args"]["name"] for event in of(events, "M") if event["name"] == "process_name"]
    assert processes == [f"{row.variant}, seed {row.seed}" for row in run.runs.itertuples()]
    assert {"server:0", "server queue", "fast-0", "fast-0 uplink", "fast-0 downlink"} <= set(named.values())


def test_slices_do_not_overlap(events: list[Event], run: Run) -> None:
    """On one thread each slice ends before or when the next begins, to the nanosecond.

    Messages in flight together lie on several threads, so this is not for want of any.
    """
    for slices in by_thread(of(events, "X")).values():
        for one, other in pairwise(slices):
            assert one["ts"] + one["dur"] <= other["ts"]
    names = {event["args"]["name"] for event in of(events, "M") if event["name"] == "thread_name"}
    assert "slow-0 latency 2" in names


def test_slices_are_the_spans(events: list[Event], run: Run) -> None:
    """One slice for each span, with its time, its bytes, FLOPs, joules, round and outcome."""
    slices = of(events, "X")
    told = sorted(
        (event["name"], float(event["ts"]), float(event["dur"]), event["args"]["round"],
         float(event["args"].get("bytes", 0)), float(event["args"].get("flop", 0)),
         float(event["args"].get("active_energy_j", 0)), event["args"]["outcome"])
        for event in slices
    )  # fmt: skip
    spans = sorted(
        (row.activity, row.start_s * 1e6, (row.end_s - row.start_s) * 1e6, row.round,
         row.bytes, row.flop, row.active_energy_j, row.outcome)
        for row in run.spans.itertuples()
    )  # fmt: skip
    assert len(told) == len(spans)
    for one, other in zip(told, spans, strict=True):
        assert (one[0], one[3:]) == (other[0], other[3:])
        assert one[1:3] == pytest.approx(other[1:3], abs=2e-3)


def test_arrows_are_bound_to_slices(events: list[Event]) -> None:
    """Each has one begin and one end, each in a slice of its thread, and goes from work to what followed."""
    begins = {event["id"]: event for event in of(events, "s")}
    ends = {event["id"]: event for event in of(events, "f")}
    assert set(begins) == set(ends)
    assert len(begins) == len(of(events, "s")) == len(of(events, "f")) > 50
    threads = by_thread(of(events, "X"))

    def slice_at(event: Event) -> str:
        own = threads[event["pid"], event["tid"]]
        (found,) = [one for one in own if one["ts"] <= event["ts"] < one["ts"] + one["dur"]]
        return str(found["name"])

    seen = set()
    for number, begin in begins.items():
        end = ends[number]
        assert (begin["name"], begin["cat"], begin["pid"]) == (end["name"], end["cat"], end["pid"])
        assert begin["ts"] < end["ts"]
        assert end["bp"] == "e"
        seen.add((begin["name"], slice_at(begin), slice_at(end)))
    assert seen == {("sent", "uplink", "serve"), ("answered", "serve", "downlink")}


def test_every_batch_of_splitfed_has_both_arrows(run: Run, tmp_path: Path) -> None:
    """Each of its server steps was brought by a message and is answered by one."""
    path = run.trace(tmp_path / "one.json", variant="splitfed-v1", seed=0)
    found = json.loads(path.read_text())["traceEvents"]
    assert len(of(found, "s")) == 2 * sum(event["name"] == "serve" for event in of(found, "X"))


def test_counters_are_the_spans(events: list[Event], run: Run) -> None:
    """The integral of each counter is that of the spans: slot seconds, byte seconds; all end at zero."""
    totals: dict[str, float] = defaultdict(float)
    for pid in {event["pid"] for event in events}:
        tracks = defaultdict(list)
        for event in of(events, "C"):
            if event["pid"] == pid:
                tracks[event["name"]].append((float(event["ts"]) / 1e6, *event["args"].values()))
        for name, values in tracks.items():
            assert float(values[-1][1]) == 0
            assert min(float(value) for _, value in values) >= 0
            totals[name] += sum(float(one[1]) * (other[0] - one[0]) for one, other in pairwise(values))
    spans = whole(run.spans)
    spans = spans.assign(seconds=spans["end_s"] - spans["start_s"])
    spans["byte_s"] = spans["bytes"] * spans["seconds"]
    sums = spans.groupby("activity")[["seconds", "byte_s"]].sum()
    assert totals["busy server slots"] == pytest.approx(sums.loc["serve", "seconds"], rel=1e-6)
    assert totals["bytes on their way up"] == pytest.approx(sums.loc["uplink", "byte_s"], rel=1e-6)
    assert totals["bytes on their way down"] == pytest.approx(sums.loc["downlink", "byte_s"], rel=1e-6)


def test_the_same_run_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    """Twice from one run, and from one that was saved and loaded; a moderate run saves its trace."""
    first = run.trace(tmp_path / "a.json").read_bytes()
    assert run.trace(tmp_path / "b.json").read_bytes() == first
    folder = run.save(tmp_path / "run")
    assert (folder / "trace.json").read_bytes() == first
    assert Run.load(folder).trace(tmp_path / "c.json").read_bytes() == first


def test_parts_of_a_run(run: Run, tmp_path: Path) -> None:
    """One variant, one seed, two rounds: only their spans; what does not exist is refused and named."""
    path = run.trace(tmp_path / "part.json", variant="sl", seed=1, rounds=(2, 3))
    slices = of(json.loads(path.read_text())["traceEvents"], "X")
    own = run.spans[(run.spans["variant"] == "sl") & (run.spans["seed"] == 1)]
    assert len(slices) == own["round"].isin([2, 3]).sum() > 0
    for wrong, words in (
        ({"variant": "none"}, "--variant: found 'none'; allowed: splitfed-v1, "),
        ({"seed": 7}, "--seed: found 7; allowed: 0, 1"),
        ({"rounds": (50, 60)}, "--rounds: found 50-60; allowed: rounds from 1 to"),
    ):
        with pytest.raises(RunError, match=words):
            run.trace(tmp_path / "no.json", **wrong)
    assert not (tmp_path / "no.json").exists()
    with pytest.raises(RunError, match="cannot be written"):
        run.trace(tmp_path / "no" / "folder.json")
