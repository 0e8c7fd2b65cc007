"""The accuracy of the last model for each client, on held-out data in the client's own mix of labels."""

from __future__ import annotations

import pandas as pd

COLUMNS = ("variant", "seed", "client", "client_accuracy")


def measured_clients(clients: pd.DataFrame | None) -> pd.DataFrame:
    """Return the rows of clients that have an accuracy; older runs, and most others, have none."""
    table = (pd.DataFrame() if clients is None else clients).reindex(columns=list(COLUMNS))
    return table[table["client_accuracy"].notna()].astype({"client_accuracy": "float64"})


def by_client(clients: pd.DataFrame | None) -> pd.DataFrame:
    """Return the mean accuracy over the seeds of each variant's clients: variant, client, client_accuracy."""
    groups = measured_clients(clients).groupby(["variant", "client"], sort=False, observed=True)
    return groups["client_accuracy"].mean().reset_index()


def spreads(clients: pd.DataFrame | None) -> dict[str, float]:
    """Return by variant the standard deviation over its clients, as a mean over its seeds."""
    groups = measured_clients(clients).groupby(["variant", "seed"], sort=False, observed=True)
    of_seed = groups["client_accuracy"].std(ddof=0)
    return {str(name): float(mean) for name, mean in of_seed.groupby(level="variant").mean().items()}
