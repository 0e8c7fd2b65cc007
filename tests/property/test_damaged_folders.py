"""Whatever the files of a result folder hold, it is shown, or refused in an error of ours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import data, read, within_bounds

import sflsim
from sflsim.errors import SflsimError
from sflsim.experiment.run import Run
from sflsim.explainer.explain import explain
from sflsim.metrics.summary import early_ends
from sflsim.planner.plan import Plan
from sflsim.provenance import described
from sflsim.sweeps.sweep import Sweep
from sflsim.terminal.explain import as_csv, format_explanation
from sflsim.terminal.plan import format_pareto, pareto_caption
from sflsim.terminal.summary import format_summary

PLAN = {"objectives": ["time"], "decisions": {"fleet.participants": [1, 2]}}
ODD = [
    None, "", "text", "=1+1", "\x1b[31m", -1, 2**62, 2**70, 0.5, -1e308, 1e308, 5e-324, float("nan"),
    float("inf"), True, [], ["a"], {}, {"a": 1},
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three: a run, a sweep and a plan."""
    place = tmp_path_factory.mktemp("good")
    small = data(stop={"rounds": 2}, target_accuracy="5%")
    sflsim.simulate(read(small)).save(place / "run", plots=False)
    scenario = read(data(plan=PLAN))
    sflsim.sweep(scenario, {"fleet.participants": [1, 2]}, timing_only=True).save(place / "sweep")
    sflsim.plan(scenario).save(place / "plan")
    return place


def show_run(folder: Path) -> None:
    """Do with the folder of a run what the commands do."""
    run = Run.load(folder)
    shown: list[Callable[[], Any]] = [
        lambda: format_summary(run.summary(0.5)),
        lambda: format_summary(run.summary()),
        lambda: [*early_ends(run.runs), *run.empty_batteries(), *described(run.manifest), *run.not_drawn()],
        lambda: run.plot(folder / "plots"),
        lambda: run.report(folder / "report.html"),
        lambda: run.trace(folder / "trace.json"),
        lambda: as_csv(explain(run, what_if=False)),
        lambda: list(format_explanation(explain(run, what_if=False))),
    ]
    for show in shown:
        tolerate(show)


def show_sweep(folder: Path) -> None:
    """Do the same with that of a sweep."""
    sweep = Sweep.load(folder)
    tolerate(sweep.summary)
    tolerate(lambda: sweep.report(folder / "report.html"))


def show_plan(folder: Path) -> None:
    """Do the same with that of a plan."""
    plan = Plan.load(folder)
    tolerate(lambda: plan.report(folder / "report.html"))
    tolerate(lambda: (format_pareto(plan), pareto_caption(plan), plan.recommended, plan.nearest))


def tolerate(show: Callable[[], Any]) -> None:
    told = ""
    try:
        show()
    except SflsimError as error:
        told = str(error)
    assert "Error:" not in told  # the name of another error, in a line about a picture


SHOW = {"run": show_run, "sweep": show_sweep, "plan": show_plan}


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, str, Any]:
    """Draw a kind of folder, a kind of damage, and numbers that say where."""
    kind = draw(st.sampled_from(sorted(SHOW)))
    way = draw(st.sampled_from(sorted(DAMAGE)))
    return kind, way, draw(st.tuples(*[st.integers(0, 2**16)] * 4))


def table_of(folder: Path, number: int) -> Path:
    found = sorted(folder.glob("*.parquet"))
    return found[number % len(found)]


def manifest_of(folder: Path) -> Path:
    return next(folder.glob("*.json"))


def other_values(folder: Path, n: tuple[int, ...]) -> None:
    """Fill a column with one odd value, or put it into one cell."""
    file = table_of(folder, n[0])
    frame = pd.read_parquet(file)
    name = frame.columns[n[1] % len(frame.columns)]
    values = frame[name].astype(object).tolist()
    odd = ODD[n[2] % len(ODD)]
    places = range(len(values)) if n[3] % 2 else [n[3] % max(1, len(values))]
    for place in places:
        if place < len(values):
            values[place] = odd
    try:
        frame.assign(**{name: pd.Series(values, dtype=object)}).to_parquet(file)
    except Exception:  # what Parquet itself cannot hold
        frame.assign(**{name: [str(value) for value in values]}).to_parquet(file)


def other_column(folder: Path, n: tuple[int, ...]) -> None:
    """Leave a column out, or call it otherwise."""
    file = table_of(folder, n[0])
    frame = pd.read_parquet(file)
    name = frame.columns[n[1] % len(frame.columns)]
    changed = frame.drop(columns=name) if n[2] % 2 else frame.rename(columns={name: "x" * (n[3] % 9)})
    changed.to_parquet(file)


def fewer_rows(folder: Path, n: tuple[int, ...]) -> None:
    file = table_of(folder, n[0])
    frame = pd.read_parquet(file)
    frame.iloc[: n[1] % 3].to_parquet(file)


def shuffled_rows(folder: Path, n: tuple[int, ...]) -> None:
    file = table_of(folder, n[0])
    frame = pd.read_parquet(file)
    pd.concat([frame.sample(frac=1, random_state=n[1]), frame]).to_parquet(file)


def other_bytes(folder: Path, n: tuple[int, ...]) -> None:
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    file = files[n[0] % len(files)]
    content = bytearray(file.read_bytes())
    at = n[1] % len(content)
    content[at : at + n[2] % 9] = (n[3] % 256).to_bytes(1, "little") * (n[2] % 7)
    file.write_bytes(content[: at + 1] if n[3] % 3 == 0 else content)


def other_file(folder: Path, n: tuple[int, ...]) -> None:
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    file, other = files[n[0] % len(files)], files[n[1] % len(files)]
    if file == other:
        file.unlink()
    else:
        shutil.copy(other, file)


def places_in(content: Any) -> list[tuple[Any, Any]]:
    steps = content.items() if isinstance(content, dict) else enumerate(content)
    found = []
    for key, below in list(steps):
        found.append((content, key))
        if isinstance(below, (dict, list)):
            found += places_in(below)
    return found


def other_manifest(folder: Path, n: tuple[int, ...]) -> None:
    file = manifest_of(folder)
    content = json.loads(file.read_text(encoding="utf-8"))
    places = places_in(content)
    holder, key = places[n[0] % len(places)]
    if n[1] % 4:
        holder[key] = ODD[n[2] % len(ODD)]
    else:
        del holder[key]
    file.write_text(json.dumps(content), encoding="utf-8")


def deep_manifest(folder: Path, n: tuple[int, ...]) -> None:
    file = manifest_of(folder)
    opening = ("[", '{"a":')[n[0] % 2]
    file.write_text(opening * 10**5, encoding="utf-8")


def other_scenario(folder: Path, n: tuple[int, ...]) -> None:
    file = folder / "scenario.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    places = places_in(content)
    holder, key = places[n[0] % len(places)]
    holder[key] = ODD[n[2] % len(ODD)]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")


DAMAGE: dict[str, Callable[[Path, tuple[int, ...]], None]] = {
    one.__name__: one
    for one in (
        other_values, other_column, fewer_rows, shuffled_rows, other_bytes, other_file, other_manifest,
        deep_manifest, other_scenario,
    )
}  # fmt: skip


def check(folders: Path, place: Path, kind: str, way: str, numbers: tuple[int, ...]) -> None:
    """Damage a copy of a folder and show it, within bounds."""
    folder = place / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folders / kind, folder)
    DAMAGE[way](folder, numbers)
    with within_bounds():
        tolerate(lambda: SHOW[kind](folder))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(damages())
def test_a_damaged_folder(folders: Path, tmp_path: Path, damage: tuple[str, str, tuple[int, ...]]) -> None:
    """It is shown, or refused in an error of ours."""
    check(folders, tmp_path, *damage)


@pytest.mark.slow
def test_300_damaged_folders(folders: Path, tmp_path: Path) -> None:
    """None of 300 ends in another error, or takes more than the bounds."""

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damages())
    def each(damage: tuple[str, str, tuple[int, ...]]) -> None:
        check(folders, tmp_path, *damage)

    each()
