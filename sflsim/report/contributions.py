"""The contributions of a run in which nobody waits: which spans are part of each, and how each counts.

An asynchronous algorithm has no rounds that its clients share: each makes one contribution after another,
and the run is as long as it takes them to make enough. So what a change saves follows from what the
contributions spend their time on. Where every client goes on at once by itself, its contributions per second
are the sum over clients of 1 / length, and a second saved by a client that contributes often saves
most: every contribution counts alike, however long. Where clients take turns, a place goes through all
of them, and every second counts alike. What is not whole (under way at the end, or lost) is left out.
Imports report's tables only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

CONTRIBUTION = "contribution"
RUN = ["variant", "seed"]


def contributions(spans: pd.DataFrame) -> pd.DataFrame:
    """Return variant, seed, client, round, start_s, end_s and weight of every whole contribution.

    Weights are such that the weighted lengths of a run's contributions sum to their lengths.
    """
    found = spans[spans["activity"] == CONTRIBUTION]
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


def of_contribution(work: pd.DataFrame, found: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return for each span the row of the contribution that it is part of, -1 for none."""
    row = np.full(len(work), -1, dtype=np.int64)
    if found.empty:
        return row
    keys = [*RUN, "client"]
    place = np.arange(len(work))
    left = work[[*keys, "start_s", "end_s"]].assign(place=place).sort_values("start_s", kind="stable")
    right = found[[*keys, "start_s", "end_s"]].rename(columns={"end_s": "until_s"})
    right = right.assign(row=np.arange(len(found))).sort_values("start_s", kind="stable")
    both = pd.merge_asof(left, right, on="start_s", by=keys)
    inside = both["row"].notna() & (both["end_s"] <= both["until_s"])
    row[both.loc[inside, "place"]] = both.loc[inside, "row"]
    return row
