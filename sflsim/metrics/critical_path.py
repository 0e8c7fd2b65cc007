"""The critical path: what the end of each round waited for, walked back through the spans.

The path of a round begins at its end, with the client that came last, and goes back: an activity began
the instant that another ended (a message arrived, a job was served, the processor was free), or when its
link was free for it. Each piece is part of one span; the pieces of a round lie end to end from its
begin to its end, so they sum to its duration. What no span accounts for (nobody was there) is "other";
"wait" is time in which those that count had ended and the round did not, as with a deadline.

An asynchronous algorithm has no rounds that its clients share. There the path is that of every whole
contribution, by its client's own spans, and the weight of its pieces is its own (see contributions).

A message is one thing on the path, whose pieces are its uplink or downlink and its latency.

Which of two things that ended at one instant was waited for, spans do not say: `BEFORE` decides, by what
algorithms do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from math import inf
from typing import NamedTuple

import pandas as pd

from sflsim.metrics.contributions import SERVER, contributions, participant_spans
from sflsim.metrics.tables import SPAN_COLUMNS, with_columns
from sflsim.record.tables import arrivals

PATH = {
    "variant": "str",
    "seed": "int64",
    "round": "int64",
    "last": "str",
    "actor": "str",
    "client": "str",
    "activity": "str",
    "start_s": "float64",
    "end_s": "float64",
    "contribution": "int64",
    "weight": "float64",
}
"""Columns of a path; `last` is whose end was the round's. Where there are no rounds: `round` is the update of
the global model that came next, `contribution` counts (0 in rounds), and `last` is who made it."""
BEFORE: Mapping[str, tuple[str, ...]] = {
    "compute": ("slowdown", "compute", "downlink", "serve", "queue"),
    "slowdown": ("downlink", "compute", "serve", "queue"),
    "uplink": ("compute", "slowdown", "uplink", "downlink"),
    "downlink": ("serve", "uplink", "compute", "downlink"),
    "serve": ("queue", "serve", "uplink"),
    "queue": ("uplink", "serve", "queue"),
    "": ("uplink", "downlink", "compute", "slowdown"),
}
"""What an activity waits for, likeliest first; "" is the end of a round."""
LATENCY = "latency"
NOT_COUNTED = ("wasted", "withdrawn", "lost")
SERVERS_OWN = ("serve", "queue")


class Piece(NamedTuple):
    """A span as the walk reads it, or a part of it on a path."""

    actor: str
    activity: str
    start_s: float
    end_s: float
    round: int
    client: str
    outcome: str
    sent_s: float
    """When it turns into latency."""


class Window(NamedTuple):
    """One round, or one contribution; `client` is "" where the end tells who it was."""

    round: int
    start_s: float
    end_s: float
    client: str
    contribution: int
    weight: float


def critical_path(spans: pd.DataFrame, runs: pd.DataFrame, barriers: Mapping[str, bool]) -> pd.DataFrame:
    """Return the pieces of every finished round or contribution, in order of time, in the columns of `PATH`.

    `runs` says how many rounds each variant and seed finished, `barriers` whether a variant has rounds
    at whose end its participants wait.
    """
    work = participant_spans(spans)
    work = work.assign(sent_s=work["end_s"], end_s=arrivals(work))[work["activity"] != LATENCY]
    whole = contributions(spans)
    finished = dict(zip(zip(runs["variant"], runs["seed"], strict=True), runs["rounds"], strict=True))
    rows: list[tuple[object, ...]] = []
    for (variant, seed), own in work.groupby(["variant", "seed"], sort=False):
        variant, rounds = str(variant), int(finished.get((variant, seed), 0))
        listed = [Piece(*row) for row in own[list(Piece._fields)].itertuples(index=False, name=None)]
        if barriers[variant]:
            walked = _pieces(listed, _rounds(listed, rounds))
        else:
            walked = _contributed(listed, whole[(whole["variant"] == variant) & (whole["seed"] == seed)])
        for window, pieces in walked:
            last = next((piece.client for piece in pieces if piece.activity not in SERVERS_OWN), "")
            fields = [_fields(part) for piece in pieces for part in _parts(piece)]
            rows += [(variant, seed, window.round, last, *part, *window[-2:]) for part in reversed(fields)]
    return pd.DataFrame(rows, columns=list(PATH)).astype(dict(PATH))


def _pieces(spans: Collection[Piece], windows: Iterable[Window]) -> Iterator[tuple[Window, list[Piece]]]:
    """Yield each window with the pieces of its path, from its end to its begin."""
    found = _Walk(spans)
    for window in windows:
        yield window, list(found.back(window))


def _contributed(spans: Collection[Piece], whole: pd.DataFrame) -> Iterator[tuple[Window, list[Piece]]]:
    """Yield every contribution with its path, client by client."""
    own: dict[str, list[Piece]] = defaultdict(list)
    for span in spans:
        own[span.client].append(span)
    columns = [whole[name] for name in ("round", "start_s", "end_s", "client", "weight")]
    windows: dict[str, list[Window]] = defaultdict(list)
    for number, (round, start_s, end_s, client, weight) in enumerate(zip(*columns, strict=True), 1):
        windows[client].append(Window(round, start_s, end_s, client, number, weight))
    for client, listed in windows.items():
        yield from _pieces(own[client], listed)


def _parts(piece: Piece) -> Iterator[Piece]:
    """Yield a piece of a message as its latency and what was sent before; any other as it is."""
    if piece.end_s > piece.sent_s:
        yield piece._replace(activity=LATENCY, start_s=max(piece.start_s, piece.sent_s))
    if piece.start_s < piece.sent_s:
        yield piece._replace(end_s=min(piece.end_s, piece.sent_s))


def _fields(piece: Piece) -> tuple[object, ...]:
    return piece.actor, piece.client, piece.activity, piece.start_s, piece.end_s


def contribution_path(spans: pd.DataFrame | None, variants: Iterable[str]) -> pd.DataFrame:
    """Return the pieces of every whole contribution of variants without shared rounds."""
    table = with_columns(spans, SPAN_COLUMNS)
    barriers = dict.fromkeys(variants, False)
    runs = pd.DataFrame(columns=["variant", "seed", "rounds"])
    return critical_path(table[table["variant"].isin(list(barriers))], runs, barriers)


def shares(path: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Return variant, where (a group, or "server"), activity, seconds and share of the variant's time.

    Where there are no rounds, seconds are those of all contributions, each with its weight.
    `groups` is the group of each client; rows are largest first within a variant.
    """
    length_s = (path["end_s"] - path["start_s"]) * path["weight"]
    placed = path.assign(where=places(path, groups), seconds=length_s)
    keys = ["variant", "where", "activity"]
    sums = placed.groupby(keys, sort=False)["seconds"].sum().reset_index()
    sums["share"] = sums["seconds"] / sums.groupby("variant")["seconds"].transform("sum")
    order = {name: place for place, name in enumerate(path["variant"].unique())}
    sums["order"] = sums["variant"].map(order)
    ranked = sums.sort_values(["order", "seconds"], ascending=[True, False], kind="stable")
    return ranked.drop(columns="order").reset_index(drop=True)


def places(path: pd.DataFrame, groups: Mapping[str, str]) -> pd.Series:
    """Return for each piece where it lies: "server", or the group of its client."""
    own = path["client"].map(groups).fillna("")
    return own.where(~path["actor"].str.fullmatch(SERVER), "server")


def slowest(path: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Return variant, client, group, how many rounds it was the last of and their seconds, most first.

    Where there are no rounds: how many contributions it made.
    """
    keys = ["variant", "seed", "round", "contribution", "last"]
    rounds = path.assign(seconds=path["end_s"] - path["start_s"]).groupby(keys, sort=False)["seconds"].sum()
    by_client = rounds.reset_index().groupby(["variant", "last"], sort=False)["seconds"]
    found = by_client.agg(["size", "sum"]).reset_index()
    found.columns = pd.Index(["variant", "client", "rounds", "seconds"])
    found.insert(2, "group", found["client"].map(groups).fillna(""))
    order = {name: place for place, name in enumerate(path["variant"].unique())}
    ranked = found.assign(order=found["variant"].map(order))
    ranked = ranked.sort_values(["order", "rounds", "seconds"], ascending=[True, False, False], kind="stable")
    return ranked.drop(columns="order").reset_index(drop=True)


def _rounds(spans: Collection[Piece], finished: int) -> Iterator[Window]:
    """Yield the finished rounds: each ends with the last that counts, or where the next begins."""
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    for span in spans:
        starts[span.round] = min(span.start_s, starts.get(span.round, span.start_s))
        if span.outcome not in NOT_COUNTED and span.actor == span.client:
            ends[span.round] = max(span.end_s, ends.get(span.round, span.end_s))
    begin_s = 0.0
    for round in range(1, finished + 1):
        following = starts.get(round + 1)
        end_s = ends.get(round, following)
        if end_s is None:
            continue
        end_s = max(begin_s, end_s if following is None else min(end_s, following))
        yield Window(round, begin_s, end_s, "", 0, 1.0)
        begin_s = end_s


class _Walk:
    """The spans of one run, found by their end, and by their start on one track."""

    def __init__(self, spans: Collection[Piece]) -> None:
        self._ended: dict[float, list[Piece]] = defaultdict(list)
        self._tracks: dict[tuple[str, str], list[Piece]] = defaultdict(list)
        for span in spans:
            if span.end_s > span.start_s and span.outcome != "withdrawn":
                self._ended[span.end_s].append(span)
                self._tracks[span.client, span.activity].append(span)
        for track in self._tracks.values():
            track.sort(key=lambda span: (span.start_s, span.end_s))
        self._ends = sorted(self._ended)

    def back(self, window: Window) -> Iterator[Piece]:
        """Yield the pieces of a window from its end to its begin."""
        at_s, here = (
            window.end_s,
            Piece("", "", window.end_s, window.end_s, window.round, window.client, "", inf),
        )
        while at_s > window.start_s:
            found = self._before(at_s, here)
            if found is None:
                place = bisect_left(self._ends, at_s)
                earlier_s = self._ends[place - 1] if place else window.start_s
                found = here._replace(activity="other", actor=here.client, start_s=earlier_s, sent_s=inf)
            start_s = max(found.start_s, window.start_s)
            yield found._replace(start_s=start_s, end_s=at_s)
            at_s, here = start_s, found

    def _before(self, at_s: float, here: Piece) -> Piece | None:
        """Return what lasted until `at_s` and `here` waited for."""
        ended = self._ended.get(at_s, [])
        at_work = [span for span in ended if span.activity != "wait"]
        own = [span for span in at_work if span.client == here.client]
        occupied = self._going_on(at_s, here.client, [here.activity])
        waited = [span for span in ended if span.activity == "wait" and here.client in ("", span.client)]
        expected = [span for span in own if span.activity in BEFORE.get(here.activity, ())]
        return (
            _likeliest(expected, here)
            or occupied
            or _likeliest(own, here)
            or _likeliest(at_work, here)
            or self._going_on(at_s, here.client, list(BEFORE))
            or max(waited, key=lambda span: span.start_s, default=None)
        )

    def _going_on(self, at_s: float, client: str, activities: Collection[str]) -> Piece | None:
        """Return the latest span of a client that had begun before `at_s` and had not ended then."""
        found = None
        for activity in activities:
            track = self._tracks.get((client, activity), [])
            place = bisect_left(track, at_s, key=lambda span: span.start_s)
            span = track[place - 1] if place else None
            if span and span.end_s > at_s and (found is None or span.start_s > found.start_s):
                found = span
        return found


def _likeliest(spans: Collection[Piece], here: Piece) -> Piece | None:
    """Return the span that `here` most likely waited for; of equals the one that began last."""
    order = BEFORE.get(here.activity, ())

    def rank(span: Piece) -> tuple[bool, bool, int, float]:
        likely = order.index(span.activity) if span.activity in order else len(order)
        return span.outcome in NOT_COUNTED, span.round != here.round, likely, -span.start_s

    return min(spans, key=rank, default=None)
