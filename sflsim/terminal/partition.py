"""Which samples a scenario's partition gives to each client: a table and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from sflsim.diagnostics.label_counts import label_counts
from sflsim.errors import SflsimError
from sflsim.formatting import counted
from sflsim.report.labels import labels_figure
from sflsim.report.style import save_figure
from sflsim.scenario.schema import Scenario


def partition_table(scenario: Scenario, seed: int | None, picture: Path | None) -> Table:
    """Return the table of a partition's figures; with a path, write the picture of labels by client there.

    Raises:
        SflsimError: the picture cannot be written.
    """
    counts = label_counts(scenario, seed)
    kinds = f"{scenario.workload.dataset.kind} partitioned by {scenario.workload.partition.kind}"
    if picture is None:
        return format_partition(counts, kinds)
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        save_figure(labels_figure(counts, kinds), picture)
    except OSError as error:
        raise SflsimError(f"--out {picture}: cannot be written ({error.strerror or error})") from error
    return format_partition(counts, kinds)


def format_partition(counts: pd.DataFrame, title: str) -> Table:
    """Return smallest, middle and largest figures over the clients.

    The distance is that between a client's shares of the labels and all clients' together, from 0
    (alike) to 1 (nothing in common): half the sum of the differences.
    """
    table = counts.pivot(index="client", columns="label", values="samples").to_numpy()
    samples = table.sum(axis=1)
    whole = table.sum(axis=0) / table.sum()
    distance = np.abs(table / samples[:, None] - whole).sum(axis=1) / 2
    shown = Table("over the clients", "smallest", "middle", "largest", title=title, title_justify="left")
    shown.add_row("samples", *_three(samples, "{:,.0f}"))
    shown.add_row("labels held", *_three((table > 0).sum(axis=1), "{:.0f}"))
    shown.add_row("distance from all together", *_three(distance, "{:.2f}"))
    shown.caption = f"{counted(len(table), 'client')}, {counted(int(table.sum()), 'sample')}"
    return shown


def _three(values: np.ndarray, form: str) -> list[str]:
    return [form.format(value) for value in (values.min(), np.median(values), values.max())]
