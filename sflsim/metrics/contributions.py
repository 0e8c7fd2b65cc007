"""The contributions of an asynchronous run and their weights; the spans of clients.

An asynchronous algorithm has no rounds that its clients share: each client makes one contribution after
another, and a run lasts until there are enough. What a change would save follows from the time that
contributions spend on each activity. If every client continues by itself, the contributions per second are
the sum over clients of 1 / length, so each contribution has the same weight, whatever its length. If clients
take turns, each second has the same weight. Incomplete contributions (under way at the end, or lost) are
left out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sflsim.metrics.tables import SPAN_COLUMNS, with_columns
from sflsim.rows import CONTRIBUTION

SERVER = r"server(:\d+)?"
RUN = ["variant", "seed"]


def contributions(spans: pd.DataFrame | None) -> pd.DataFrame:
    """Return variant, seed, client, round, start_s, end_s and weight of every complete contribution.

    The weighted lengths of a run's contributions sum to their lengths.
    """
    table = with_columns(spans, SPAN_COLUMNS)
    table = table[table["activity"] == CONTRIBUTION]
    table = table[[*RUN, "client", "round", "start_s", "end_s"]].reset_index(drop=True)
    length_s = table["end_s"] - table["start_s"]
    runs = [table[name] for name in RUN]
    previous_end_s = table.groupby([*RUN, "client"], sort=False)["end_s"].shift()
    continues = previous_end_s.isna() | (previous_end_s == table["start_s"])
    without_turns = continues.groupby(runs, sort=False).transform("all")
    mean_s = length_s.groupby(runs, sort=False).transform("mean")
    client_mean_s = length_s.groupby([*runs, table["client"]], sort=False).transform("mean")
    weight = mean_s / client_mean_s.where(client_mean_s > 0, mean_s)
    return table.assign(weight=weight.where(without_turns & (mean_s > 0), 1.0))


def participant_spans(spans: pd.DataFrame | None) -> pd.DataFrame:
    """Return the finished spans that belong to a client; an empty `client` is filled in from the actor."""
    table = with_columns(spans, SPAN_COLUMNS)
    table = table[np.isfinite(table["start_s"].astype(float)) & np.isfinite(table["end_s"].astype(float))]
    table = table[table["activity"] != CONTRIBUTION]
    actor, client = table["actor"].astype(str), table["client"].fillna("").astype(str)
    owner = client.where(client != "", actor.where(~actor.str.fullmatch(SERVER), ""))
    return table.assign(client=owner)[owner != ""]
