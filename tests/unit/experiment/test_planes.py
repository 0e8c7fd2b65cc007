"""The planes are separate, and draws and tables depend on nothing that they should not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import data, read

from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

TABLES = ("spans", "evaluations", "clients")
STRAGGLER = {"kind": "exponential", "mean": "2 s", "redraw": "exchange"}
RANDOM = {
    "device": {"compute": {"kind": "uniform", "low": "2 FLOP/s", "high": "9 FLOP/s"}},
    "link": {
        "up": {"kind": "lognormal", "median": "8 byte/s", "sigma": 0.5, "redraw": "message"},
        "down": {"kind": "lognormal", "median": "8 byte/s", "sigma": 0.5},
        "latency": {"kind": "exponential", "mean": "0.2 s", "redraw": "message"},
    },
}
FLEET = {
    "clients": 5,
    "groups": [{**RANDOM, "name": "a", "count": 3}, {**RANDOM, "name": "b", "count": 2}],
    "straggler": STRAGGLER,
}
VARIANTS = [
    {"algorithm": "splitfed-v1", "local_iterations": 2},
    {"algorithm": "splitfed-v2"},
    {"algorithm": "mu-splitfed", "tau": [2, "adaptive"], "tau_max": 4},
]


def content(**fields: Any) -> dict[str, Any]:
    return data(**{"fleet": FLEET, "variants": VARIANTS, "seeds": [3, 4], "stop": {"rounds": 4}, **fields})


@pytest.fixture(scope="module")
def trained() -> Run:
    return simulate(read(content()))


def of(table: pd.DataFrame, **values: str) -> pd.DataFrame:
    """Return the rows with these values, numbered anew."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table.reset_index(drop=True)


def file_bytes(run: Run, folder: Path) -> dict[str, bytes]:
    """Save a run and return the bytes of its tables."""
    run.save(folder, plots=False)
    return {name: (folder / f"{name}.parquet").read_bytes() for name in TABLES}


def test_timing_only_gives_the_same_spans(trained: Run, tmp_path: Path) -> None:
    """Byte for byte, and the same times in the evaluations; only what was learned is missing."""
    timed = simulate(read(content()), timing_only=True)
    spans = [file_bytes(run, tmp_path / str(place))["spans"] for place, run in enumerate((trained, timed))]
    assert len(timed.spans) > 500
    assert spans[0] == spans[1]
    learned = ["accuracy", "loss"]
    assert timed.evaluations[learned].isna().all(axis=None)
    assert trained.evaluations[learned].notna().all(axis=None)
    pd.testing.assert_frame_equal(
        trained.evaluations.drop(columns=learned), timed.evaluations.drop(columns=learned)
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_same_tables_again(trained: Run, tmp_path: Path, workers: int) -> None:
    """A second run gives the same files byte for byte, in one process as in two."""
    again = simulate(read(content()), workers=workers)
    assert file_bytes(again, tmp_path / "again") == file_bytes(trained, tmp_path / "first")
    pd.testing.assert_frame_equal(again.runs, trained.runs)


def test_removing_a_variant_changes_no_other(trained: Run) -> None:
    """Spans, evaluations and clients of those that remain are the same, in any order of variants."""
    fewer = simulate(read(content(variants=VARIANTS[:0:-1])))
    assert list(fewer.runs["variant"].unique()) != list(trained.runs["variant"].unique())
    for name in fewer.runs["variant"].unique():
        for table in TABLES:
            pd.testing.assert_frame_equal(
                of(getattr(trained, table), variant=name), of(getattr(fewer, table), variant=name)
            )


def test_removing_a_seed_changes_no_other(trained: Run) -> None:
    """The runs under the seed that remains are the same."""
    one = simulate(read(content(seeds=[4])))
    pd.testing.assert_frame_equal(
        one.evaluations, trained.evaluations[trained.evaluations["seed"] == 4].reset_index(drop=True)
    )


def draws(run: Run, client: str, *activities: str) -> list[tuple[int, float, float]]:
    """Return (round, duration, size) of a client's activities in order, rounded to 1e-9."""
    spans = run.spans[(run.spans["client"] == client) & run.spans["activity"].isin(activities)]
    rows = spans.sort_values("start_s")[["round", "start_s", "end_s", "bytes"]].itertuples(index=False)
    return [(row.round, round(row.end_s - row.start_s, 9), row.bytes) for row in rows]


@pytest.mark.parametrize(
    "groups",
    [
        [FLEET["groups"][0]],
        [{**RANDOM, "name": "new", "count": 2}, FLEET["groups"][0]],
        [{**RANDOM, "name": "a", "count": 4}],
    ],
    ids=["group b removed", "group b replaced by one before", "a device added"],
)
def test_other_devices_change_no_draw_of_a_device(groups: list[Any]) -> None:
    """Slowdowns, rates and latencies of the devices in group a are the same with other devices around."""
    settings = {"variants": [VARIANTS[0]], "seeds": [3], "server": {"compute": "1 TFLOP/s", "slots": 9}}
    counts = sum(group["count"] for group in groups)
    fleet = {"clients": counts, "groups": groups, "straggler": STRAGGLER}
    before = simulate(read(content(**settings)), timing_only=True)
    after = simulate(read(content(**settings, fleet=fleet)), timing_only=True)
    for client in ("a-0", "a-1", "a-2"):
        for activity in ("slowdown", "compute", "uplink", "downlink"):
            expected = draws(before, client, activity)
            assert len(expected) >= 8
            assert draws(after, client, activity) == expected


def test_all_variants_see_the_same_fleet_and_slowdowns(trained: Run) -> None:
    """Common random numbers: every variant meets the same rates and first slowdowns of a round."""
    assert (trained.clients.groupby(["seed", "client"])["flop_per_s"].nunique() == 1).all()
    slowdowns = trained.spans[trained.spans["activity"] == "slowdown"]
    first = slowdowns.drop_duplicates(["variant", "seed", "client", "round"])
    seconds = (first["end_s"] - first["start_s"]).round(9)
    by_variant = first.assign(seconds=seconds).groupby(["seed", "client", "round"])["seconds"]
    assert (by_variant.count() == 4).all()
    assert (by_variant.nunique() == 1).all()


def test_all_variants_start_from_the_same_weights(trained: Run) -> None:
    """At time zero every variant has the same accuracy and loss under a seed; another seed, another loss."""
    start = trained.evaluations[trained.evaluations["time_s"] == 0]
    assert (start.groupby("seed")["loss"].nunique() == 1).all()
    assert start["loss"].nunique() == 2


def test_evaluating_takes_no_time_and_changes_nothing(trained: Run) -> None:
    """The same spans with an evaluation every other round, or every second; the same last accuracy."""
    for every in ("2 rounds", "1 s"):
        other = simulate(read(content(evaluate={"every": every})))
        pd.testing.assert_frame_equal(other.spans, trained.spans)
        last = [
            run.evaluations.drop_duplicates(["variant", "seed"], keep="last").reset_index(drop=True)
            for run in (trained, other)
        ]
        pd.testing.assert_frame_equal(*last)
