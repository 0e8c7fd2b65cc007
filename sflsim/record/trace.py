"""The spans of a run in the Trace Event format, which Perfetto and Chromium's about://tracing open.

One process per variant and seed, one track (thread) per actor and kind of activity. Slices of one track
never overlap: a slice that would (a message under way while the next is sent) gets another track, with a
number. Arrows lead from an uplink to the job that it brought, and from the job to the downlink of its
answer. Counters show the busy server slots, the jobs in service (more than slots where they are shared),
the bytes under way and the throughput of each shared link. Times are whole nanoseconds, written in
microseconds. Source: "Trace Event Format" (Google, the Catapult project's documentation of the JSON form).
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sflsim.errors import RunError
from sflsim.record.tables import arrivals, write_atomically
from sflsim.rows import CONTRIBUTION, LATENCY, LinkThroughput, Span

DEFAULT_TRACE_SPANS = 50_000
"""Spans up to which a run writes its trace by default, about 15 MB."""
SPAN_BYTES = 350
"""Of the file, for each span, about: its slice, arrows and counters."""
TRACKS = {name: name for name in ("uplink", "downlink", LATENCY, "queue", CONTRIBUTION)}
"""Kind of track by activity; the actor does all others one at a time, on its main track."""
SLICE, FLOW, COUNTER = range(3)
"""Kinds of events, in their order within one instant."""
Event = dict[str, Any]
Timed = tuple[int, int, int, Event]
"""Time in ns, kind, track and content of an event."""


class Slice(NamedTuple):
    """One span on its track; times in ns."""

    span: Span
    start_ns: int
    end_ns: int
    arrival_ns: int
    """Of a message, the end of its latency; of others, their end."""


def write_trace(spans: pd.DataFrame, throughput: pd.DataFrame, slots: int, path: Path) -> None:
    """Write the trace of spans and of the throughput of shared links, atomically.

    `slots` is the number of server slots. Equal tables give equal bytes.

    Raises:
        RunError: the file cannot be written.
    """
    write_atomically(path, lambda part: _write(_events(spans, throughput, slots), Path(part)))


def selected_spans(
    spans: pd.DataFrame,
    variant: str | None,
    seed: int | None,
    rounds: tuple[int, int] | None,
    window_s: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Return the spans of one variant, one seed, rounds from - to; None means all.

    Those of a window of simulated time are whole: all that lie in it in part, messages until they arrive.

    Raises:
        RunError: there are none.
    """
    for name, wanted in (("variant", variant), ("seed", seed)):
        known = spans[name].unique().tolist()
        if wanted is not None and wanted not in known:
            raise RunError(f"--{name}: found {wanted!r}; allowed: {', '.join(map(str, known)) or 'nothing'}")
        spans = spans if wanted is None else spans[spans[name] == wanted]
    if rounds is not None:
        last = int(spans["round"].max()) if len(spans) else 0
        spans = spans[spans["round"].between(*rounds)]
        if spans.empty:
            raise RunError(f"--rounds: found {rounds[0]}-{rounds[1]}; allowed: rounds from 1 to {last}")
    if window_s is not None:
        since_s, until_s = window_s
        last_s = float(spans["end_s"].max()) if len(spans) else 0.0
        spans = spans[_overlaps(spans, since_s, until_s)]
        if spans.empty:
            found = f"{since_s:.6g} s to {'the end' if math.isinf(until_s) else f'{until_s:.6g} s'}"
            raise RunError(f"--since, --until: found {found}; allowed: a part of 0 s to {last_s:.6g} s")
    if spans.empty:
        raise RunError("no spans were recorded, so there is nothing to trace")
    return spans


def _overlaps(spans: pd.DataFrame, since_s: float, until_s: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell for each span whether it lies in a window in part; the latency of a message as its bytes do."""
    inside = (arrivals(spans) >= since_s) & (spans["start_s"].to_numpy() <= until_s)
    travels = np.flatnonzero(spans["activity"].to_numpy() == LATENCY)
    inside[travels] = inside[travels - 1]
    return inside


def _write(events: Iterable[str], part: Path) -> None:
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"displayTimeUnit": "ms", "traceEvents": [')
        for number, event in enumerate(events):
            file.write((",\n" if number else "\n") + event)
        file.write("\n]}\n")


def _events(spans: pd.DataFrame, throughput: pd.DataFrame, slots: int) -> Iterator[str]:
    """Yield every event as JSON: first all names, then the events of each process, by time."""
    processes = [
        (pid, variant, seed, *_tracked(_slices(rows)))
        for pid, ((variant, seed), rows) in enumerate(spans.groupby(["variant", "seed"], sort=False), 1)
    ]
    for pid, variant, seed, names, _ in processes:
        yield _metadata(pid, 0, "process_name", name=f"{variant}, seed {seed}")
        yield _metadata(pid, 0, "process_sort_index", sort_index=pid)
        for tid, track in enumerate(names, 1):
            yield _metadata(pid, tid, "thread_name", name=track)
            yield _metadata(pid, tid, "thread_sort_index", sort_index=tid)
    flows = 0
    for pid, variant, seed, _, tracked in processes:
        arrows = list(_flows(tracked, flows))
        flows += len(arrows) // 2
        slices = [slice for slice, _ in tracked]
        rows = throughput[(throughput["variant"] == variant) & (throughput["seed"] == seed)]
        counters = [*_counters(slices, slots), *_throughputs(rows, slices)]
        timed = sorted([*_slice_events(tracked), *arrows, *counters], key=lambda event: event[:3])
        for at_ns, _, _, event in timed:
            yield _json({**event, "pid": pid}, at_ns)


def _slices(spans: pd.DataFrame) -> list[Slice]:
    spans = spans.assign(actor=spans["actor"].where(spans["activity"] != CONTRIBUTION, spans["client"]))
    listed = map(Span._make, spans[list(Span._fields)].itertuples(index=False, name=None))
    slices = (
        Slice(span, round(span.start_s * 1e9), round(span.end_s * 1e9), round(arrival_s * 1e9))
        for span, arrival_s in zip(listed, arrivals(spans).tolist(), strict=True)
    )
    return sorted(slices, key=lambda each: (each.start_ns, -each.end_ns))


def _tracked(slices: list[Slice]) -> tuple[list[str], list[tuple[Slice, int]]]:
    """Return the names of all tracks, and each slice with the number of its track, from 1."""
    ends_ns: dict[tuple[str, str], list[int]] = defaultdict(list)  # of the last slice on each track
    tracks = []
    for slice in slices:
        kind = slice.span.actor, TRACKS.get(slice.span.activity, "")
        ends = ends_ns[kind]
        index = next((index for index, end_ns in enumerate(ends) if end_ns <= slice.start_ns), len(ends))
        ends[index : index + 1] = [slice.end_ns]
        tracks.append((*kind, index))
    order = sorted(set(tracks), key=_order)
    tids = {track: tid for tid, track in enumerate(order, 1)}
    names = [
        " ".join(filter(None, [actor, kind, str(index + 1) if index else ""])) for actor, kind, index in order
    ]
    return names, [(slice, tids[track]) for slice, track in zip(slices, tracks, strict=True)]


def _order(track: tuple[str, str, int]) -> tuple[Any, ...]:
    """Return the sort key of a track: the server first, then clients by group and number."""
    actor, kind, index = track
    name, _, number = actor.rpartition("-")
    counted = (name, int(number)) if number.isdigit() else (actor, -1)
    return (not actor.startswith("server"), *counted, kind, index)


def _slice_events(tracked: list[tuple[Slice, int]]) -> Iterator[Timed]:
    for slice, tid in tracked:
        args: Event = {"round": slice.span.round, "outcome": slice.span.outcome}
        if slice.span.client != slice.span.actor:
            args["client"] = slice.span.client
        figures = {name: getattr(slice.span, name) for name in ("bytes", "flop", "active_energy_j")}
        args |= {name: figure for name, figure in figures.items() if figure}
        event = {
            "name": slice.span.activity, "cat": slice.span.activity, "ph": "X", "tid": tid,
            "dur": slice.end_ns - slice.start_ns, "args": args,
        }  # fmt: skip
        yield slice.start_ns, SLICE, tid, event


def _flows(tracked: list[tuple[Slice, int]], number: int) -> Iterator[Timed]:
    """Yield the two ends of every arrow, numbered from `number` on; a slice of zero length has no arrow.

    A message brought the job that began to queue, or to be served, in the instant of its arrival.
    """
    sent, answers, queued, jobs = {}, {}, {}, []
    for slice, tid in tracked:
        client, activity = slice.span.client, slice.span.activity
        if slice.end_ns == slice.start_ns:
            continue
        if activity == "uplink":
            sent[client, slice.arrival_ns] = slice, tid
        elif activity == "downlink":
            answers[client, slice.start_ns] = slice, tid
        elif activity == "queue":
            queued[client, slice.end_ns] = slice.start_ns
        elif activity == "serve":
            jobs.append((slice, tid))
    for job, tid in jobs:
        arrival_ns = queued.get((job.span.client, job.start_ns), job.start_ns)
        pairs = (
            ("sent", sent.get((job.span.client, arrival_ns)), (job, tid)),
            ("answered", (job, tid), answers.get((job.span.client, job.end_ns))),
        )
        for name, source, target in pairs:
            if source is not None and target is not None:
                number += 1
                both = {"name": name, "cat": "flow", "id": number}
                yield source[0].end_ns - 1, FLOW, source[1], {**both, "ph": "s", "tid": source[1]}
                yield target[0].start_ns, FLOW, target[1], {**both, "ph": "f", "bp": "e", "tid": target[1]}


def _counters(slices: Iterable[Slice], slots: int) -> Iterator[Timed]:
    """Yield the busy slots, the jobs in service and the bytes under way, at each change."""
    busy: dict[int, int] = defaultdict(int)
    moved: dict[str, dict[int, list[float]]] = {"up": defaultdict(list), "down": defaultdict(list)}
    for slice in slices:
        if slice.arrival_ns == slice.start_ns:
            continue
        if slice.span.activity == "serve":
            busy[slice.start_ns] += 1
            busy[slice.end_ns] -= 1
        elif slice.span.activity in ("uplink", "downlink"):
            changes = moved[slice.span.activity.removesuffix("link")]
            changes[slice.start_ns].append(slice.span.bytes)
            changes[slice.arrival_ns].append(-slice.span.bytes)
    jobs = 0
    for at_ns in sorted(busy):
        jobs += busy[at_ns]
        yield at_ns, COUNTER, 0, _counter("busy server slots", {"slots": min(jobs, slots)})
        yield at_ns, COUNTER, 0, _counter("jobs in service", {"jobs": jobs})
    for direction, changes in moved.items():
        for at_ns, amount in _running(changes):
            yield at_ns, COUNTER, 0, _counter(f"bytes on their way {direction}", {"bytes": amount})


def _throughputs(throughput: pd.DataFrame, slices: Sequence[Slice]) -> Iterator[Timed]:
    """Yield the throughput of each shared link at each change, from the first slice to the last."""
    start_ns, end_ns = min(each.start_ns for each in slices), max(each.end_ns for each in slices)
    steps: dict[str, dict[int, float]] = defaultdict(dict)
    for link, time_s, bytes_per_s in throughput[list(LinkThroughput._fields)].itertuples(False, None):
        steps[link][min(max(round(time_s * 1e9), start_ns), end_ns)] = bytes_per_s
    for link, values in steps.items():
        for at_ns, bytes_per_s in {**values, end_ns: 0.0}.items():
            yield at_ns, COUNTER, 0, _counter(f"throughput of {link}", {"bytes/s": bytes_per_s})


def _running(changes: dict[int, list[float]]) -> Iterator[tuple[int, float]]:
    """Yield the running sum; it is exactly 0 when nothing is under way."""
    amount, messages = 0.0, 0
    for at_ns in sorted(changes):
        messages += sum(1 if change > 0 else -1 for change in changes[at_ns] if change)
        amount = amount + sum(changes[at_ns]) if messages else 0.0
        yield at_ns, amount


def _counter(name: str, args: Event) -> Event:
    return {"name": name, "ph": "C", "tid": 0, "args": args}


def _metadata(pid: int, tid: int, kind: str, **args: str | int) -> str:
    return _json({"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": args}, 0)


def _json(event: Event, at_ns: int) -> str:
    """Return an event with its times in microseconds, to the nanosecond and without rounding."""
    times = {"ts": at_ns} | ({"dur": event.pop("dur")} if "dur" in event else {})
    numbers = "".join(f', "{name}": {ns // 1000}.{ns % 1000:03d}' for name, ns in times.items())
    return json.dumps(event, ensure_ascii=True, allow_nan=False)[:-1] + numbers + "}"
