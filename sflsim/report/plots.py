"""All pictures of a run, written to a folder from its tables alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sflsim.errors import SflsimWarning
from sflsim.formatting import shorten
from sflsim.metrics.client_accuracy import measured_clients
from sflsim.metrics.contributions import participant_spans
from sflsim.metrics.tables import measured, variants_of
from sflsim.report.accuracy import accuracy_figure, time_to_accuracy_figure
from sflsim.report.attribution import where_time_goes_figure
from sflsim.report.client_accuracy import client_accuracy_figure
from sflsim.report.gantt import gantt_figure
from sflsim.report.style import PAGE, STYLE, Page, lacking, safe_name, save_figure

Pictures = Iterable[tuple[str, Callable[[], Figure]]]
"""Each with its name and how it is drawn."""

WORDS = 300
"""Characters of a library's own message that are shown; LaTeX says many."""
SHOWN = 20
"""Characters without a sign in the font that are named."""


def plot_all(
    tables: Mapping[str, pd.DataFrame],
    folder: Path | str,
    target: float | None = None,
    failures: list[str] | None = None,
) -> list[Path]:
    """Write every picture for which `tables` (evaluations, runs, spans) has data and return their paths.

    accuracy_time.png and accuracy_rounds.png need an accuracy, time_to_accuracy.png also a `target`;
    gantt_<variant>.png and where_time_goes.png need spans. Equal tables give equal bytes.
    """
    return save_all(figures(tables, target), Path(folder), [] if failures is None else failures)


def save_all(
    pictures: Pictures, folder: Path, failures: list[str], forms: Sequence[str] = ("png",)
) -> list[Path]:
    """Write pictures, each in every one of `forms` (`sflsim.report.style.FORMS`), and return their paths.

    Where one cannot be drawn, whatever the reason, a line about it is added to `failures`, and the others are
    drawn. One warning names the characters that the font lacks.
    """
    paths, boxes = [], set[str]()
    for name, figure in pictures:
        path = folder / f"{name}.{forms[0]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            drawn = figure()
            boxes |= lacking(drawn)
            for form in forms:
                path = folder / f"{name}.{form}"
                paths.append(save_figure(drawn, path, form))
        except OSError as error:  # of the folder: the others would fail alike
            failures.append(f"{folder}: cannot be written ({error.strerror or error})")
            break
        except Exception as error:
            why = shorten(" ".join(str(error).split()), WORDS)
            failures.append(f"{path}: cannot be drawn ({type(error).__name__}: {why})")
    if boxes:
        some = "".join(sorted(boxes)[:SHOWN])
        font = STYLE["font.family"]
        told = f"the font of the pictures, {font}, has no {some}: boxes stand for such characters"
        warnings.warn(told, SflsimWarning, stacklevel=3)
    return paths


def figures(
    tables: Mapping[str, pd.DataFrame], target: float | None = None, page: Page = PAGE
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Yield the name of each picture that `tables` has data for, and what draws it."""
    evaluations, runs, spans = (tables.get(name) for name in ("evaluations", "runs", "spans"))
    if not measured(evaluations).empty:
        yield "accuracy_time", partial(accuracy_figure, evaluations, runs, target, "time_s", page)
        yield "accuracy_rounds", partial(accuracy_figure, evaluations, runs, target, "round", page)
        if target is not None:
            yield "time_to_accuracy", partial(time_to_accuracy_figure, evaluations, runs, target, page)
    if not measured_clients(tables.get("clients")).empty:
        yield "client_accuracy", partial(client_accuracy_figure, tables.get("clients"), page)
    work = participant_spans(spans)
    taken: set[str] = set()
    for variant in variants_of(work):
        yield f"gantt_{safe_name(variant, taken)}", partial(gantt_figure, spans, variant, page=page)
    if not work.empty:
        yield "where_time_goes", partial(where_time_goes_figure, spans, page)
