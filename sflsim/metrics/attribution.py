"""Attribution of a participant's time: each instant of its round has exactly one category.

A participant's round lasts from the start of its first span to the end of its last. Processor, radio and
server work in parallel, so spans overlap. An instant covered by several spans goes to the first of: compute,
slowdown, uplink, downlink, absence, latency, server, wait. An instant that no span covers is `other`. So
overlapped communication and server steps cost no time. A multiplicative slowdown counts as compute.

For an asynchronous algorithm, the time of each contribution is attributed along its path instead (see
`critical_path`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from sflsim.metrics.contributions import contributions, participant_spans
from sflsim.metrics.critical_path import contribution_path
from sflsim.metrics.tables import variants_of
from sflsim.rows import ABSENCE

CATEGORIES = ("compute", "slowdown", "uplink", "downlink", ABSENCE, "latency", "server", "wait", "other")
CATEGORY_OF = {
    "compute": "compute",
    "slowdown": "slowdown",
    "uplink": "uplink",
    "downlink": "downlink",
    ABSENCE: ABSENCE,
    "latency": "latency",
    "serve": "server",
    "queue": "server",
    "wait": "wait",
}
KEYS = ["variant", "seed", "round", "client"]


def attribute(spans: pd.DataFrame | None) -> pd.DataFrame:
    """Return one row per participant and round: `KEYS`, the seconds of each of `CATEGORIES`, its weight.

    The categories of a row add up to the length of the participant's round. Server spans without a client
    and spans without an end are left out.
    """
    work = participant_spans(spans)
    asynchronous = work["variant"].isin(contributions(spans)["variant"].unique())
    parts = [_of_rounds(work[~asynchronous]), _of_contributions(work[asynchronous], spans)]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _of_rounds(work: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of participants in rounds."""
    groups = work.groupby(KEYS, sort=False, observed=True)
    owner = np.asarray(groups.ngroup(), dtype=np.int64)
    rank = work["activity"].map(CATEGORY_OF).fillna("other").map(CATEGORIES.index).to_numpy(dtype=np.int64)
    start_s, end_s = work["start_s"].to_numpy(dtype=np.float64), work["end_s"].to_numpy(dtype=np.float64)
    rows = work[KEYS].drop_duplicates(KEYS).reset_index(drop=True)
    seconds = pd.DataFrame(_sweep(owner, rank, start_s, end_s, len(rows)), columns=list(CATEGORIES))
    return pd.concat([rows, seconds], axis=1).assign(weight=1.0)


def _of_contributions(work: pd.DataFrame, spans: pd.DataFrame | None) -> pd.DataFrame:
    """Return the rows of contributions: the seconds of each category on their paths."""
    path = contribution_path(spans, work["variant"].unique())
    path = path.assign(
        seconds=path["end_s"] - path["start_s"],
        category=path["activity"].map(CATEGORY_OF).fillna("other"),
    )
    keys = [*KEYS, "contribution", "weight"]
    seconds = path.groupby([*keys, "category"], sort=False)["seconds"].sum().unstack(fill_value=0)
    rows = seconds.reindex(columns=list(CATEGORIES), fill_value=0.0).reset_index()
    return rows[[*KEYS, *CATEGORIES, "weight"]]


def _sweep(
    owner: npt.NDArray[np.int64],
    rank: npt.NDArray[np.int64],
    start_s: npt.NDArray[np.float64],
    end_s: npt.NDArray[np.float64],
    owners: int,
) -> npt.NDArray[np.float64]:
    """Return seconds [owners, categories] by a sweep over all starts and ends, owner by owner, by time.

    Between two neighbouring edges, the open span of the lowest rank gets the time. Each owner closes the
    spans that it opens, so one running count over all owners is enough.
    """
    edge_s, edge_owner = np.concatenate([start_s, end_s]), np.concatenate([owner, owner])
    edge_rank, change = np.concatenate([rank, rank]), np.repeat(np.array([1, -1], dtype=np.int64), len(owner))
    order = np.lexsort((edge_s, edge_owner))
    edge_s, edge_owner, edge_rank, change = edge_s[order], edge_owner[order], edge_rank[order], change[order]
    other = len(CATEGORIES) - 1
    cause = np.full(len(order), other, dtype=np.int64)
    for category in reversed(range(other)):
        cause[np.cumsum(np.where(edge_rank == category, change, 0)) > 0] = category
    length_s = np.diff(edge_s, append=edge_s[-1:])
    length_s[:-1][edge_owner[1:] != edge_owner[:-1]] = 0.0
    cell = edge_owner * len(CATEGORIES) + cause
    total = np.bincount(cell, weights=length_s, minlength=owners * len(CATEGORIES))
    return total.astype(np.float64).reshape(owners, len(CATEGORIES))


def mean_times(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean seconds of each of `CATEGORIES`, one row per variant, of what `attribute` returns."""
    weighted = rows[list(CATEGORIES)].mul(rows["weight"], axis=0)
    return weighted.groupby(rows["variant"], sort=False, observed=True).mean()


def where_time_goes(spans: pd.DataFrame | None, share: bool = False) -> pd.DataFrame:
    """Return mean seconds per participant and round of each of `CATEGORIES`, one row per variant.

    With `share` each row is divided by its sum.
    """
    means = mean_times(attribute(spans)).reindex(variants_of(spans)).dropna(how="all")
    return means.div(means.sum(axis=1).replace(0.0, np.nan), axis=0).fillna(0.0) if share else means


def of_whom(spans: pd.DataFrame | None) -> str:
    """Return whose time is attributed: a participant's round, or also contributions."""
    return "a participant's round" + (" or contribution" if len(contributions(spans)) else "")
