"""The contributions of a run in which nobody waits, and how each counts; the spans of clients.

An asynchronous algorithm has no rounds that its clients share: each makes one contribution after another,
and the run is as long as it takes them to make enough. So what a change saves follows from what the
contributions spend their time on. Where every client goes on at once by itself, its contributions per second
are the sum over clients of 1 / length, and a second saved by a client that contributes often saves
most: every contribution counts alike, however long. Where clients take turns, a place goes through all
of them, and every second counts alike. What is not whole (under way at the end, or lost) is left out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sflsim.metrics.tables import SPAN_COLUMNS, with_columns

CONTRIBUTION = "contribution"
SERVER = r"server(:\d+)?"
RUN = ["variant", "seed"]


def contributions(spans: pd.DataFrame | None) -> pd.DataFrame:
    """Return variant, seed, client, round, start_s, end_s and weight of every whole contribution.

    Weights are such that the weighted lengths of a run's contributions sum to their lengths.
    """
    found = with_columns(spans, SPAN_COLUMNS)
    found = found[found["activity"] == CONTRIBUTION]
    found = found[[*RUN, "client", "round", "start_s", "end_s"]].reset_index(drop=True)
    length_s = found["end_s"] - found["start_s"]
    runs = [found[name] for name in RUN]
    before_s = found.groupby([*RUN, "client"], sort=False)["end_s"].shift()
    goes_on = before_s.isna() | (before_s == found["start_s"])
    alone = goes_on.groupby(runs, sort=False).transform("all")
    mean_s = length_s.groupby(runs, sort=False).transform("mean")
    own_s = length_s.groupby([*runs, found["client"]], sort=False).transform("mean")
    weight = (mean_s / own_s.where(own_s > 0, mean_s)).where(alone & (mean_s > 0), 1.0)
    return found.assign(weight=weight)


def participant_spans(spans: pd.DataFrame | None) -> pd.DataFrame:
    """Return the finished spans that belong to a client, `client` filled in from the actor where empty."""
    table = with_columns(spans, SPAN_COLUMNS)
    table = table[np.isfinite(table["start_s"].astype(float)) & np.isfinite(table["end_s"].astype(float))]
    table = table[table["activity"] != CONTRIBUTION]
    actor, client = table["actor"].astype(str), table["client"].fillna("").astype(str)
    owner = client.where(client != "", actor.where(~actor.str.fullmatch(SERVER), ""))
    return table.assign(client=owner)[owner != ""]
