"""All pictures of a run, written to a folder from its tables alone. Imports report modules only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sflsim.report.accuracy import accuracy_figure, time_to_accuracy_figure
from sflsim.report.attribution import where_time_goes_figure
from sflsim.report.contributions import participant_spans
from sflsim.report.gantt import gantt_figure
from sflsim.report.style import safe_name, save_png
from sflsim.report.tables import measured, variants_of


def plot_all(
    tables: Mapping[str, pd.DataFrame], folder: Path | str, target: float | None = None
) -> list[Path]:
    """Write every picture for which `tables` (evaluations, runs, spans) has data and return their paths.

    accuracy_time.png and accuracy_rounds.png need an accuracy, time_to_accuracy.png also a `target`;
    gantt_<variant>.png and where_time_goes.png need spans. Equal tables give equal bytes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [save_png(figure, folder / f"{name}.png") for name, figure in figures(tables, target)]


def figures(tables: Mapping[str, pd.DataFrame], target: float | None = None) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of each picture that `tables` has data for, one at a time."""
    evaluations, runs, spans = (tables.get(name) for name in ("evaluations", "runs", "spans"))
    if not measured(evaluations).empty:
        yield "accuracy_time", accuracy_figure(evaluations, runs, target, "time_s")
        yield "accuracy_rounds", accuracy_figure(evaluations, runs, target, "round")
        if target is not None:
            yield "time_to_accuracy", time_to_accuracy_figure(evaluations, runs, target)
    work = participant_spans(spans)
    taken: set[str] = set()
    for variant in variants_of(work):
        yield f"gantt_{safe_name(variant, taken)}", gantt_figure(spans, variant)
    if not work.empty:
        yield "where_time_goes", where_time_goes_figure(spans)
