"""The critical path: the chain of activities that determines when each round ends.

The pieces of a path are parts of spans. They lie end to end from the round's start to its end, so they
sum to its duration. "other" is time that no span accounts for (no client was available); "wait" is time in
which the participants that count had finished but the round had not, as with a deadline. A message is one
activity whose pieces are its uplink or downlink and its latency.

An asynchronous algorithm has no rounds that its clients share. There, each complete contribution has a path
through its client's own spans, and its pieces have its weight (see `contributions`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

import pandas as pd

from sflsim.metrics.backward_walk import NOT_COUNTED, BackwardWalk, Piece, Window
from sflsim.metrics.contributions import SERVER, contributions, participant_spans
from sflsim.metrics.tables import SPAN_COLUMNS, with_columns
from sflsim.record.tables import arrivals
from sflsim.rows import LATENCY

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
"""Columns of a path. `last` is the last client to finish. Without rounds, `round` is the next update of the
global model, `contribution` is a number from 1 (0 in rounds), and `last` is its client."""
SERVER_ACTIVITIES = ("serve", "queue")


def critical_path(spans: pd.DataFrame, runs: pd.DataFrame, barriers: Mapping[str, bool]) -> pd.DataFrame:
    """Return the pieces of every finished round or contribution, by time, in the columns of `PATH`.

    `runs` has the number of finished rounds of each variant and seed. `barriers` says of each variant
    whether it has rounds at whose end participants wait.
    """
    work = participant_spans(spans)
    work = work.assign(sent_s=work["end_s"], end_s=arrivals(work))[work["activity"] != LATENCY]
    complete = contributions(spans)
    finished = dict(zip(zip(runs["variant"], runs["seed"], strict=True), runs["rounds"], strict=True))
    rows: list[tuple[object, ...]] = []
    for (variant, seed), table in work.groupby(["variant", "seed"], sort=False):
        variant, rounds = str(variant), int(finished.get((variant, seed), 0))
        pieces = [Piece(*row) for row in table[list(Piece._fields)].itertuples(index=False, name=None)]
        if barriers[variant]:
            paths = _paths(pieces, _rounds(pieces, rounds))
        else:
            of_run = (complete["variant"] == variant) & (complete["seed"] == seed)
            paths = _contribution_paths(pieces, complete[of_run])
        for window, path in paths:
            last = next((piece.client for piece in path if piece.activity not in SERVER_ACTIVITIES), "")
            for part in (part for piece in reversed(path) for part in _parts(piece)):
                rows.append(
                    (
                        variant, seed, window.round, last, part.actor, part.client, part.activity,
                        part.start_s, part.end_s, window.contribution, window.weight,
                    )
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(PATH)).astype(dict(PATH))


def _paths(spans: Collection[Piece], windows: Iterable[Window]) -> Iterator[tuple[Window, list[Piece]]]:
    """Yield each window with the pieces of its path, from its end to its start."""
    walk = BackwardWalk(spans)
    for window in windows:
        yield window, list(walk.pieces(window))


def _contribution_paths(
    spans: Collection[Piece], complete: pd.DataFrame
) -> Iterator[tuple[Window, list[Piece]]]:
    """Yield every complete contribution with its path, client by client."""
    spans_of: dict[str, list[Piece]] = defaultdict(list)
    for span in spans:
        spans_of[span.client].append(span)
    columns = [complete[name] for name in ("round", "start_s", "end_s", "client", "weight")]
    windows_of: dict[str, list[Window]] = defaultdict(list)
    for number, (round, start_s, end_s, client, weight) in enumerate(zip(*columns, strict=True), 1):
        windows_of[client].append(Window(round, start_s, end_s, client, number, weight))
    for client, windows in windows_of.items():
        yield from _paths(spans_of[client], windows)


def _parts(piece: Piece) -> Iterator[Piece]:
    """Yield a message's sending and its latency; any other piece as it is."""
    if piece.start_s < piece.sent_s:
        yield piece._replace(end_s=min(piece.end_s, piece.sent_s))
    if piece.end_s > piece.sent_s:
        yield piece._replace(activity=LATENCY, start_s=max(piece.start_s, piece.sent_s))


def contribution_path(spans: pd.DataFrame | None, variants: Iterable[str]) -> pd.DataFrame:
    """Return the pieces of every complete contribution of asynchronous variants."""
    table = with_columns(spans, SPAN_COLUMNS)
    barriers = dict.fromkeys(variants, False)
    runs = pd.DataFrame(columns=["variant", "seed", "rounds"])
    return critical_path(table[table["variant"].isin(list(barriers))], runs, barriers)


def shares(path: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Return variant, where (a group, or "server"), activity, seconds and share of the variant's time.

    Without rounds, seconds are those of all contributions, each with its weight. `groups` has the group of
    each client; rows are largest first within a variant.
    """
    length_s = (path["end_s"] - path["start_s"]) * path["weight"]
    placed = path.assign(where=_where(path, groups), seconds=length_s)
    keys = ["variant", "where", "activity"]
    sums = placed.groupby(keys, sort=False)["seconds"].sum().reset_index()
    sums["share"] = sums["seconds"] / sums.groupby("variant")["seconds"].transform("sum")
    return _ranked(sums, path, ["seconds"])


def _where(path: pd.DataFrame, groups: Mapping[str, str]) -> pd.Series:
    """Return for each piece "server", or the group of its client."""
    of_client = path["client"].map(groups).fillna("")
    return of_client.where(~path["actor"].str.fullmatch(SERVER), "server")


def slowest(path: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Return variant, client, group, the rounds in which it was the last, and their seconds, most first.

    Without rounds: the number of its contributions.
    """
    keys = ["variant", "seed", "round", "contribution", "last"]
    rounds = path.assign(seconds=path["end_s"] - path["start_s"]).groupby(keys, sort=False)["seconds"].sum()
    by_client = rounds.reset_index().groupby(["variant", "last"], sort=False)["seconds"]
    table = by_client.agg(["size", "sum"]).reset_index()
    table.columns = pd.Index(["variant", "client", "rounds", "seconds"])
    table.insert(2, "group", table["client"].map(groups).fillna(""))
    return _ranked(table, path, ["rounds", "seconds"])


def _ranked(table: pd.DataFrame, path: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Sort rows by variant, in the path's order, then by `columns`, largest first."""
    order = {name: index for index, name in enumerate(path["variant"].unique())}
    ranked = table.assign(order=table["variant"].map(order)).sort_values(
        ["order", *columns], ascending=[True, *(False for _ in columns)], kind="stable"
    )
    return ranked.drop(columns="order").reset_index(drop=True)


def _rounds(spans: Collection[Piece], finished: int) -> Iterator[Window]:
    """Yield the finished rounds: each ends with its last participant that counts, or at the next start."""
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    for span in spans:
        starts[span.round] = min(span.start_s, starts.get(span.round, span.start_s))
        if span.outcome not in NOT_COUNTED and span.actor == span.client:
            ends[span.round] = max(span.end_s, ends.get(span.round, span.end_s))
    start_s = 0.0
    for round in range(1, finished + 1):
        following_s = starts.get(round + 1)
        end_s = ends.get(round, following_s)
        if end_s is None:
            continue
        end_s = max(start_s, end_s if following_s is None else min(end_s, following_s))
        yield Window(round, start_s, end_s, "", 0, 1.0)
        start_s = end_s
