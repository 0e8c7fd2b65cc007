"""What was measured beside what was predicted: times of rounds, exchanges, activities; learning."""

from __future__ import annotations

from typing import Any

import pandas as pd

import sflsim
from testbed.exchanges import SIDES
from testbed.runner import Reality
from testbed.sides import Asynchronous


def durations(spans: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds of every round, every exchange and every activity in it.

    A round begins with its first message and ends with its last. An exchange is what a client does
    between the model's arrival and its sending it back. A message counts until it arrives.
    """
    travels = (spans["activity"] == "latency").shift(-1, fill_value=False)  # a message until it arrives
    spans = spans.assign(end_s=spans["end_s"].where(~travels, spans["end_s"].shift(-1)))
    spans = spans[spans["activity"].isin(["compute", "uplink", "downlink", "serve", "queue"])]
    rounds = spans.groupby("round").agg(start=("start_s", "min"), end=("end_s", "max"))
    rows: list[tuple[Any, ...]] = [
        ("round", number, "", row.end - row.start) for number, row in rounds.iterrows()
    ]
    for (number, client), own in spans.groupby(["round", "client"]):
        down, up = own[own["activity"] == "downlink"], own[own["activity"] == "uplink"]
        rows.append(("exchange", number, client, up["start_s"].max() - down["end_s"].min()))
        each = (own["end_s"] - own["start_s"]).groupby(own["activity"]).sum()
        rows += [(activity, number, client, seconds) for activity, seconds in each.items()]
    return pd.DataFrame(rows, columns=["what", "round", "client", "seconds"])


def without_rounds(spans: pd.DataFrame, evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds from update to update, and those of every client's contributions.

    A client's last contribution is left out: the run may have ended in the midst of it.
    """
    spans = spans[spans["client"] != ""]
    last = spans.groupby("client")["round"].transform("max")
    found = durations(spans[spans["round"] < last])
    updates = pd.DataFrame({"round": evaluations["round"], "seconds": evaluations["time_s"].diff()})
    updates = updates.dropna().assign(what="update", client="")
    return pd.concat([found[found["what"] != "round"], updates])


def beside(real: Reality, run: sflsim.Run) -> pd.DataFrame:
    """Return every duration that was measured beside the one that was predicted, and its error."""
    keys = ["what", "round", "client"]
    asynchronous = issubclass(SIDES[run.scenario.variants[0].algorithm], Asynchronous)
    measured, simulated = (
        without_rounds(one.spans, one.evaluations) if asynchronous else durations(one.spans)
        for one in (real, run)
    )
    both = measured.merge(simulated, on=keys, suffixes=("", "_predicted"))
    both["error"] = both["seconds_predicted"] / both["seconds"] - 1
    return both[both["what"] != "queue"]


def learning_apart(real: Reality, run: sflsim.Run) -> pd.DataFrame:
    """Return how far accuracy and loss of the real run are from the simulated one's, round by round."""
    both = real.evaluations.merge(run.evaluations, on="round", suffixes=("", "_simulated"))
    return pd.DataFrame(
        {name: (both[name] - both[f"{name}_simulated"]).abs() for name in ("accuracy", "loss")}
    )


def table(times: pd.DataFrame) -> pd.DataFrame:
    """Return the medians for each algorithm: measured, predicted, error, size of the error."""
    times = times.assign(size=times["error"].abs())
    columns: dict[str, Any] = {
        "n": ("seconds", "size"),
        "measured_s": ("seconds", "median"),
        "predicted_s": ("seconds_predicted", "median"),
        "median_error": ("error", "median"),
        "median_size_of_error": ("size", "median"),
    }
    found: pd.DataFrame = times.groupby(["by", "algorithm", "what"], sort=False).agg(**columns)
    return found.reset_index()
