"""The spans of a run in the Trace Event format, which Perfetto and Chromium's about://tracing open.

One process per variant and seed, one track (thread) per actor and kind of work, with names. A track
never holds two slices that overlap: what goes on beside another of its kind (a message on its way while
the next is sent) gets a further track of the same name and a number. Flows lead from an uplink to the
serving of what it brought, and on to the downlink of the answer; counters are the busy server slots,
the jobs in service (more than slots where they are shared), the bytes on their way and what flows
through each shared medium, in byte/s. Times are whole nanoseconds, written in microseconds. Source:
"Trace Event Format" (Google, the Catapult project's documentation of the JSON form).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from sflsim.errors import RunError
from sflsim.record.tables import arrivals, write_whole
from sflsim.rows import Span

MODERATE = 50_000
"""Spans up to which a run writes its trace unasked, about 15 MB."""
TRACKS = {name: name for name in ("uplink", "downlink", "latency", "queue", "contribution")}
"""Kind of track by activity; all else is what the actor itself does one thing at a time."""
OWN = ""
METADATA, SLICE, FLOW, COUNTER = range(4)
Event = dict[str, Any]


class Slice(NamedTuple):
    """One span on its track; times in ns."""

    span: Span
    start_ns: int
    end_ns: int
    arrival_ns: int
    """Of a message, when it has travelled; of all else its end."""


def write_trace(spans: pd.DataFrame, use: pd.DataFrame, slots: int, path: Path) -> None:
    """Write the trace of all spans given and of the `use` of media meanwhile, whole or not at all.

    `slots` are the server's. Equal tables give equal bytes.

    Raises:
        RunError: the file cannot be written.
    """
    write_whole(path, lambda part: _write(_events(spans, use, slots), Path(part)))


def chosen(
    spans: pd.DataFrame, variant: str | None, seed: int | None, rounds: tuple[int, int] | None
) -> pd.DataFrame:
    """Return the spans of one variant, one seed, rounds from - to; None chooses all.

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
    if spans.empty:
        raise RunError("no spans were recorded, so there is nothing to trace")
    return spans


def _write(events: Iterable[str], part: Path) -> None:
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"displayTimeUnit": "ms", "traceEvents": [')
        for number, event in enumerate(events):
            file.write((",\n" if number else "\n") + event)
        file.write("\n]}\n")


def _events(spans: pd.DataFrame, use: pd.DataFrame, slots: int) -> Iterator[str]:
    """Yield every event as JSON: all names first, then process by process in order of time."""
    processes = [
        (variant, seed, _slices(own))
        for (variant, seed), own in spans.groupby(["variant", "seed"], sort=False)
    ]
    laid = [(pid, one, *_laid(slices)) for pid, (*one, slices) in enumerate(processes, 1)]
    for pid, (variant, seed), names, _ in laid:
        yield _named(pid, 0, "process_name", {"name": f"{variant}, seed {seed}"})
        yield _named(pid, 0, "process_sort_index", {"sort_index": pid})
        for tid, track in enumerate(names, 1):
            yield _named(pid, tid, "thread_name", {"name": track})
            yield _named(pid, tid, "thread_sort_index", {"sort_index": tid})
    flows = 0
    for pid, (variant, seed), _, tracked in laid:
        arrows = list(_flows(tracked, flows))
        flows += len(arrows) // 2
        slices = [slice for slice, _ in tracked]
        own = use[(use["variant"] == variant) & (use["seed"] == seed)]
        timed = [*_completes(tracked), *arrows, *_counters(slices, slots), *_uses(own, slices)]
        timed.sort(key=lambda one: one[:3])
        for at_ns, _, _, event in timed:
            yield _json({**event, "pid": pid}, at_ns)


def _slices(spans: pd.DataFrame) -> list[Slice]:
    arrivals_s = arrivals(spans).tolist()
    spans = spans.assign(actor=spans["actor"].where(spans["activity"] != "contribution", spans["client"]))
    listed = map(Span._make, spans[list(Span._fields)].itertuples(index=False, name=None))
    rows = [
        Slice(span, round(span.start_s * 1e9), round(span.end_s * 1e9), round(arrival_s * 1e9))
        for span, arrival_s in zip(listed, arrivals_s, strict=True)
    ]
    return sorted(rows, key=lambda one: (one.start_ns, -one.end_ns))


def _laid(slices: list[Slice]) -> tuple[list[str], list[tuple[Slice, int]]]:
    """Return the names of all tracks, and each slice with the number of its track, from 1."""
    free_ns: dict[tuple[str, str], list[int]] = defaultdict(list)
    placed = []
    for one in slices:
        track = one.span.actor, TRACKS.get(one.span.activity, OWN)
        lanes = free_ns[track]
        lane = next((place for place, end_ns in enumerate(lanes) if end_ns <= one.start_ns), len(lanes))
        lanes[lane : lane + 1] = [one.end_ns]
        placed.append((*track, lane))
    order = sorted(set(placed), key=_order)
    numbers = {track: tid for tid, track in enumerate(order, 1)}
    names = [
        " ".join(filter(None, [actor, kind, str(lane + 1) if lane else ""])) for actor, kind, lane in order
    ]
    return names, [(one, numbers[track]) for one, track in zip(slices, placed, strict=True)]


def _order(track: tuple[str, str, int]) -> tuple[Any, ...]:
    """Return the place of a track: the server first, then clients by group and number."""
    actor, kind, lane = track
    name, _, number = actor.rpartition("-")
    counted = (name, int(number)) if number.isdigit() else (actor, -1)
    return (not actor.startswith("server"), *counted, kind, lane)


def _completes(tracked: list[tuple[Slice, int]]) -> Iterator[tuple[int, int, int, Event]]:
    for one, tid in tracked:
        args: Event = {"round": one.span.round, "outcome": one.span.outcome}
        if one.span.client != one.span.actor:
            args["client"] = one.span.client
        figures = {name: getattr(one.span, name) for name in ("bytes", "flop", "active_energy_j")}
        args |= {name: figure for name, figure in figures.items() if figure}
        event = {
            "name": one.span.activity, "cat": one.span.activity, "ph": "X", "tid": tid,
            "dur": one.end_ns - one.start_ns, "args": args,
        }  # fmt: skip
        yield one.start_ns, SLICE, tid, event


def _flows(tracked: list[tuple[Slice, int]], begun: int) -> Iterator[tuple[int, int, int, Event]]:
    """Yield the two ends of every arrow, each within its slice; what takes no time has none.

    A message brought a job that arrived (began to queue, or to be served) the instant it did.
    """
    seen = [(one, tid) for one, tid in tracked if one.end_ns > one.start_ns]
    sent = {
        (one.span.client, one.arrival_ns): (one, tid) for one, tid in seen if one.span.activity == "uplink"
    }
    answers = {
        (one.span.client, one.start_ns): (one, tid) for one, tid in seen if one.span.activity == "downlink"
    }
    queued = {(one.span.client, one.end_ns): one.start_ns for one, _ in seen if one.span.activity == "queue"}
    number = begun
    for job, tid in seen:
        if job.span.activity != "serve":
            continue
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


def _counters(slices: Iterable[Slice], slots: int) -> Iterator[tuple[int, int, int, Event]]:
    """Yield the busy slots, the jobs in service and the bytes on their way, each time that they change."""
    busy: dict[int, int] = defaultdict(int)
    moved: dict[str, dict[int, list[float]]] = {"up": defaultdict(list), "down": defaultdict(list)}
    for one in slices:
        if one.arrival_ns == one.start_ns:
            continue
        if one.span.activity == "serve":
            busy[one.start_ns] += 1
            busy[one.end_ns] -= 1
        elif one.span.activity in ("uplink", "downlink"):
            changes = moved[one.span.activity.removesuffix("link")]
            changes[one.start_ns].append(one.span.bytes)
            changes[one.arrival_ns].append(-one.span.bytes)
    jobs = 0
    for at_ns in sorted(busy):
        jobs += busy[at_ns]
        yield at_ns, COUNTER, 0, _counter("busy server slots", {"slots": min(jobs, slots)})
        yield at_ns, COUNTER, 0, _counter("jobs in service", {"jobs": jobs})
    for direction, changes in moved.items():
        for at_ns, amount in _running(changes):
            yield at_ns, COUNTER, 0, _counter(f"bytes on their way {direction}", {"bytes": amount})


def _uses(use: pd.DataFrame, slices: Sequence[Slice]) -> Iterator[tuple[int, int, int, Event]]:
    """Yield what flows through each medium, each time that it changes, from the first slice to the last."""
    begin_ns, end_ns = min(one.start_ns for one in slices), max(one.end_ns for one in slices)
    steps: dict[str, dict[int, float]] = defaultdict(dict)
    columns = (use["medium"], use["time_s"], use["bytes_per_s"])
    for medium, time_s, bytes_per_s in zip(*columns, strict=True):
        steps[medium][min(max(round(time_s * 1e9), begin_ns), end_ns)] = bytes_per_s
    for medium, values in steps.items():
        for at_ns, bytes_per_s in {**values, end_ns: 0.0}.items():
            yield at_ns, COUNTER, 0, _counter(f"link use of {medium}", {"bytes/s": bytes_per_s})


def _running(changes: dict[int, list[float]]) -> Iterator[tuple[int, float]]:
    """Yield the running sum; it is exactly 0 where nothing is on its way."""
    amount, messages = 0.0, 0
    for at_ns in sorted(changes):
        amount += sum(changes[at_ns])
        messages += sum(1 if change > 0 else -1 for change in changes[at_ns] if change)
        amount = amount if messages else 0.0
        yield at_ns, amount


def _counter(name: str, args: Event) -> Event:
    return {"name": name, "ph": "C", "tid": 0, "args": args}


def _named(pid: int, tid: int, name: str, args: Event) -> str:
    return _json({"name": name, "ph": "M", "pid": pid, "tid": tid, "args": args}, 0)


def _json(event: Event, at_ns: int) -> str:
    """Return an event with its times in microseconds, to the nanosecond and without rounding."""
    times = {"ts": at_ns} | ({"dur": event.pop("dur")} if "dur" in event else {})
    numbers = "".join(f', "{name}": {ns // 1000}.{ns % 1000:03d}' for name, ns in times.items())
    return json.dumps(event, ensure_ascii=True, allow_nan=False)[:-1] + numbers + "}"
