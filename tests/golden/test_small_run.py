"""A small run pinned to the byte: a refactoring leaves it as it is.

Everything is compared as text, floats by their shortest exact form, but for accuracy and loss, in
which another processor may round otherwise. After a change that is meant to change results, write
the files anew with

    python tests/golden/test_small_run.py

and say in the change why they differ.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd
import pytest

import sflsim

HERE = Path(__file__).parent
ROUNDED = ["accuracy", "loss"]
TOLERANCE = 1e-4  # of 359 held-out samples, one changes the accuracy by 28e-4


@cache
def run() -> sflsim.Run:
    return sflsim.simulate(sflsim.load_scenario(HERE / "small.yaml"))


def text(table: pd.DataFrame) -> str:
    """Return a table as CSV; pandas writes a float's repr."""
    return str(table.to_csv(index=False, lineterminator="\n"))


def test_spans_are_pinned() -> None:
    """Who did what from when to when: every line the same."""
    assert text(run().spans).splitlines() == (HERE / "small.spans.csv").read_text().splitlines()


def test_evaluations_are_pinned() -> None:
    """Times, bytes, energy exactly; accuracy and loss to what processors may differ in."""
    found = run().evaluations
    pinned = pd.read_csv(HERE / "small.evaluations.csv", dtype=str)

    assert text(found.drop(columns=ROUNDED)) == text(pinned.drop(columns=ROUNDED))
    for name in ROUNDED:
        assert found[name].to_list() == pytest.approx(pinned[name].map(float).to_list(), abs=TOLERANCE)


def test_the_pinned_run_says_something() -> None:
    """All verbs occur, all variants learn, and adaptive tau differs from round to round."""
    spans, evaluations = run().spans, run().evaluations
    last = evaluations.groupby("variant", sort=False)["loss"].agg(["first", "last"])
    steps = evaluations[evaluations["variant"].str.startswith("mu-splitfed")]["step"].diff().dropna()

    assert set(spans["activity"]) == {
        "compute", "slowdown", "uplink", "downlink", "latency", "wait", "serve", "queue",
    }  # fmt: skip
    assert (last["last"] < last["first"]).all()
    assert steps.nunique() > 1


if __name__ == "__main__":
    (HERE / "small.spans.csv").write_text(text(run().spans))
    (HERE / "small.evaluations.csv").write_text(text(run().evaluations))
