"""The HTML report without a browser: what is in the file, and that its figures are those of the tables."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import data, read
from typer.testing import CliRunner

from sflsim.cli import app
from sflsim.errors import SflsimError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.metrics.tables import first_at_target
from sflsim.record import tables
from sflsim.report import html_gantt
from sflsim.report.html_curves import curves
from sflsim.report.html_fleet import fleet
from sflsim.report.html_points import plan_report, sweep_report
from sflsim.report.html_run import run_report

pytest.importorskip("plotly")
EVIL = "</script><img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and what stands in its scripts and in its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text.append(data)

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def run() -> Run:
    """Two variants and two devices on the clock alone, every name hostile."""
    variants = [{"algorithm": "splitfed-v1", "name": EVIL}, {"algorithm": "mu-splitfed", "tau": 2}]
    scenario = read(data(description=EVIL, variants=variants, seeds=[0, 1], stop={"rounds": 3}))
    return simulate(scenario, timing_only=True)


def evaluations(seeds: int = 3, steps: int = 40) -> pd.DataFrame:
    """Return noisy accuracies of two variants with costs that only grow."""
    rng, rows = np.random.default_rng(7), []
    for variant in ("one", "two"):
        for seed in range(seeds):
            spent = np.cumsum(rng.uniform(0.1, 1, (steps, 7)), axis=0)
            for step in range(steps):
                accuracy = min(1.0, max(0.0, step / steps + rng.normal(0, 0.1)))
                rows.append((variant, seed, spent[step, 0], step, step, accuracy, 0.1, *spent[step, 1:6]))
    return tables.table("evaluations", rows)


def test_the_file_names_nothing_outside_of_itself(run: Run, tmp_path: Path) -> None:
    """No element loads anything, links stay in the page, and the policy allows its two scripts alone."""
    page = run.report(tmp_path / "below" / "report.html").read_text(encoding="utf-8")
    elements = Elements(page)
    addresses = [
        value for _, attrs in elements.found for name, value in attrs.items() if name in ("src", "href")
    ]
    assert all(value == "data:," or (value or "").startswith("#") for value in addresses)
    policy = next(attrs["content"] or "" for tag, attrs in elements.found if "http-equiv" in attrs)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in elements.scripts]
    assert policy.startswith("default-src 'none'; ")
    assert re.findall(r"sha256-([^']+)'", policy) == hashes[1:]
    assert len(page) < 6_000_000


def test_names_stay_text(run: Run, tmp_path: Path) -> None:
    """What a scenario calls things makes no element: neither in the page nor at the end of its data."""
    page = run.report(tmp_path / "report.html").read_text(encoding="utf-8")
    elements = Elements(page)
    assert [tag for tag, _ in elements.found].count("script") == len(elements.scripts) == 3
    assert "img" not in {tag for tag, _ in elements.found}
    assert not any(name.startswith("on") for _, attrs in elements.found for name in attrs)
    assert elements.data["variants"][0]["name"] == EVIL
    assert EVIL in "".join(elements.text)


def test_equal_tables_give_equal_pages(run: Run, tmp_path: Path) -> None:
    """A saved run has the same page; nothing of the day or of the machine is in it."""
    run.save(tmp_path / "run", plots=False)
    done = CliRunner().invoke(app, ["report", str(tmp_path / "run")])
    assert (done.exit_code, done.stdout.split()) == (0, [str(tmp_path / "run" / "report.html")])
    expected = run.report(tmp_path / "again.html").read_bytes()
    assert (tmp_path / "run" / "report.html").read_bytes() == expected


def test_without_plotly_the_extra_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install, and no file is left."""
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(SflsimError, match=r"pip install 'sflsim\[report\]'"):
        run.report(tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    """A folder without a manifest is named as what it is not."""
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    assert "is this the folder of a run" in " ".join(done.stderr.split())


@pytest.mark.parametrize("target", [0.05, 0.31, 0.62, 0.9, 1.0])
def test_the_evaluations_kept_find_every_target(target: float) -> None:
    """The records of each seed hold its first evaluation at any target, exactly."""
    table = evaluations()
    found = curves(table, None, None)
    assert found is not None
    kept = []
    for variant, seeds in zip(("one", "two"), found["curves"], strict=True):
        for seed, records in enumerate(seeds["seeds"]):
            at = next((place for place, value in enumerate(records["accuracy"]) if value >= target), None)
            if at is not None:
                kept.append((variant, seed, *(records[name][at] for name in ("time_s", "energy_j", "round"))))
    expected = first_at_target(table.assign(loss=0.0), target).merge(table, on=["variant", "seed", "time_s"])
    columns = ["variant", "seed", "time_s", "energy_j_y", "round_y"]
    assert kept == list(expected[columns].itertuples(index=False, name=None))


def test_curves_are_thinned() -> None:
    """A long curve keeps its ends; where nothing was spent, it stays at zero."""
    table = evaluations(seeds=1, steps=2000).assign(energy_j=0.0)
    found = curves(table, None, None)
    assert found is not None
    band = found["curves"][0]["bands"]["round"]
    assert len(band["x"]) <= 600
    assert (band["x"][0], band["x"][-1]) == (0, 1999)
    assert set(found["curves"][0]["bands"]["energy_j"]["x"]) == {0}


def test_gantt_data_are_bounded_and_say_so() -> None:
    """Few rounds of many clients: whole rounds are kept, and notes name what was left out."""
    rows = []
    for variant in ("one", "two"):
        for round in range(30):
            for client in range(100):
                name, start = f"phone-{client}", 10.0 * round
                rows.append(
                    (variant, 0, name, "compute", start, start + 5, round, name, 0.0, 1.0, 0.0, "done")
                )
                slot = f"server:{client % 12}"
                rows.append(
                    (variant, 0, slot, "serve", start + 5, start + 6, round, name, 0.0, 1.0, 0.0, "done")
                )
    found = html_gantt.gantt(tables.table("spans", rows), ["one", "two"], room=1000)
    assert found is not None
    for run in found["runs"]:
        assert len(run["row"]) <= 1000
        assert run["rounds"] == list(range(len(run["rounds"])))
        assert len(run["rounds"]) >= 3
        assert run["clients"] == html_gantt.MOST_CLIENTS
        assert " ".join(run["notes"]).count(" of ") == 3


def test_the_fleet_has_the_rates_of_its_links() -> None:
    """The clients table holds the rates that the scenario gives; alike devices are one point."""
    slow = {
        "name": "slow",
        "count": 3,
        "device": {"compute": "4 FLOP/s"},
        "link": {"up": "unlimited", "down": "8 byte/s"},
    }
    fast = {
        "name": "fast",
        "count": 1,
        "device": {"compute": "8 FLOP/s"},
        "link": {"up": "16 byte/s", "down": "8 Mbit/s"},
    }
    done = simulate(read(data(fleet={"clients": 4, "groups": [slow, fast]})), timing_only=True)
    rates = done.clients.set_index("client")[["up_bytes_per_s", "down_bytes_per_s"]]
    assert rates.loc["slow-0"].tolist() == [math.inf, 8.0]
    assert rates.loc["fast-0"].tolist() == [16.0, 1e6]
    found = fleet(done.clients)
    assert found is not None
    points = found["seeds"][0]["points"]
    assert [(point["count"], point["up"], point["down"]) for point in points] == [
        (3, "inf", 8),
        (1, 16, 1000000),
    ]
    assert fleet(done.clients.assign(up_bytes_per_s=math.nan)) is None


def test_a_folder_from_before_the_rates_is_read(run: Run, tmp_path: Path) -> None:
    """An older clients table lacks the two columns; they are read as unknown."""
    run.save(tmp_path, plots=False)
    older = pd.read_parquet(tmp_path / "clients.parquet").drop(columns=["up_bytes_per_s", "down_bytes_per_s"])
    tables.write_table(older, tmp_path / "clients.parquet")
    loaded = Run.load(tmp_path)
    assert loaded.clients["up_bytes_per_s"].isna().all()
    assert list(loaded.clients.columns) == list(tables.COLUMNS["clients"])
    assert "no record of its devices" in loaded.report(tmp_path / "report.html").read_text(encoding="utf-8")


def test_empty_tables_have_a_page() -> None:
    """A run interrupted before anything happened says so in every section."""
    frames = {name: tables.table(name, []) for name in tables.COLUMNS}
    page = run_report(frames, name="empty")
    assert Elements(page).data["accuracy"] is None
    assert "Nothing was learned" in page


def test_names_stay_text_in_sweeps_and_plans() -> None:
    """Columns, values, reasons and tables of a sweep and a plan make no element either."""
    rows = [
        {"point": 0, EVIL: EVIL, "variant": EVIL, "seed": 0, "status": "failed", "error": EVIL, "time_s": 1.0}
    ]
    point = {"point": 0, EVIL: EVIL, "time_s": 1.0, "pareto": True, "recommended": True}
    frame = pd.DataFrame([point])
    pages = [
        sweep_report(
            pd.DataFrame(rows), [EVIL], name=EVIL, description=EVIL, scenario=EVIL, manifest={"a": EVIL}
        ),
        plan_report(
            frame, decisions=[EVIL], objectives=["time_s"], name=EVIL, reasons=[EVIL], tables={EVIL: frame}
        ),
    ]
    for page in pages:
        elements = Elements(page)
        assert len(elements.scripts) == 3
        assert "img" not in {tag for tag, _ in elements.found}
        assert EVIL in json.dumps(elements.data)


@pytest.mark.parametrize(
    ("violated", "counted"),
    [
        (["budget", "", "deadline, budget"], ["3 given up", "2 violate a constraint", "1 cannot win"]),
        ([""], ["1 given up", "1 cannot win"]),
        (None, ["3 given up", "3 cannot win"]),
    ],
)
def test_what_was_given_up_is_counted_by_reason(violated: list[str] | None, counted: list[str]) -> None:
    """Points that violate a constraint are not said to be dominated."""
    count = 3 if violated is None else len(violated)
    points = pd.DataFrame({"point": range(count), "time_s": 1.0, "pareto": False, "exact": False})
    points = points if violated is None else points.assign(violated=violated)
    page = "".join(Elements(plan_report(points, decisions=[], objectives=["time_s"], name="p")).text)

    assert [words for words in counted if words not in page] == []
    assert page.count("cannot win") == 1
    assert ("violate a constraint" in page) == (len(counted) == 3)


def test_long_texts_of_a_plain_table_get_a_wide_column() -> None:
    """And only those; figures stay to the right."""
    points = pd.DataFrame({"point": [0], "time_s": [1.0], "pareto": [True], "recommended": [True]})
    more = pd.DataFrame({"name": ["a"], "note": ["word " * 10], "ratio": [1.5]})
    html = plan_report(points, decisions=[], objectives=["time_s"], name="p", tables={"More": more})

    assert '<td>a</td><td class="long">word ' in html
    assert '<td class="figure">1.5</td>' in html
