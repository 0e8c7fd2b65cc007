"""Where a result comes from: in run.json, on the report's page, in the summary; and --version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from support import data, read
from typer.testing import CliRunner

import sflsim
from sflsim import provenance
from sflsim.cli import app
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.planner.plan import Plan
from sflsim.sweeps.sweep import Sweep

ROOT = Path(__file__).parents[3]
GIT = shutil.which("git")


def git(folder: Path, *arguments: str) -> str:
    """Call git as somebody who has a name."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        [str(GIT), *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def told_in(folder: Path) -> str:
    """Return the commit that the package in a folder tells."""
    code = "from sflsim.provenance import commit; print(commit())"
    outside = {**os.environ, "PYTHONPATH": str(folder), "GIT_DIR": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=outside,
        cwd=folder.parent,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_one_version_everywhere() -> None:
    """Of the package, the command line and the file for citations."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == sflsim.__version__ == provenance.__version__
    assert {"cff-version", "message", "title", "authors"} < set(citation)
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.stdout.split()[:2]) == (0, ["sflsim", sflsim.__version__])


def test_a_run_tells_where_it_comes_from(tmp_path: Path) -> None:
    """Versions, date, duration, platform, command and the scenario's fingerprint; tables know none of it."""
    run = simulate(read(data(description="one")), timing_only=True)
    again = simulate(read(data(description="two")), timing_only=True)
    folder = run.save(tmp_path / "run", plots=False)
    told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    made = told["provenance"]
    assert made["version"] == told["versions"]["sflsim"] == sflsim.__version__
    assert {"python", "torch"} < set(told["versions"])
    assert abs((datetime.now(UTC) - datetime.fromisoformat(made["date"])).total_seconds()) < 3600
    assert made["platform"]
    assert Path(sys.argv[0]).name in made["command"]
    assert told["real_s"] == run.manifest["real_s"] > 0
    assert told["scenario"] == provenance.fingerprint(run.scenario.to_yaml())
    assert told["scenario"] == simulate(read(data(description="one")), timing_only=True).manifest["scenario"]
    assert told["scenario"] != again.manifest["scenario"]
    other = again.save(tmp_path / "other", plots=False)
    for name in ("spans", "link_throughput", "evaluations", "clients"):
        assert (folder / f"{name}.parquet").read_bytes() == (other / f"{name}.parquet").read_bytes()


def test_people_are_told(tmp_path: Path) -> None:
    """By `summary`, and at the head of the report's page, of a run, a sweep and a plan."""
    run = simulate(read(data()), timing_only=True)
    run.manifest["provenance"] |= {"commit": "c0ffee", "command": "sflsim run <mine>.yaml"}
    run.save(tmp_path / "run", plots=False)
    wanted = [f"sflsim {sflsim.__version__}", "commit c0ffee", "torch ", run.manifest["scenario"]]
    wanted += [run.manifest["provenance"]["date"]]
    shown = CliRunner().invoke(app, ["summary", str(tmp_path / "run")])
    assert not [word for word in [*wanted, "sflsim run <mine>.yaml"] if word not in shown.stdout]
    page = run.report(tmp_path / "run.html").read_text(encoding="utf-8")
    assert not [word for word in [*wanted, "sflsim run &lt;mine&gt;.yaml"] if word not in page]
    slots = {"server.slots": [1, 2]}
    plan = sflsim.plan(read(data(plan={"decisions": slots, "objectives": ["time"]})))
    sweep = sflsim.sweep(read(data()), slots, timing_only=True)
    for one, kind in ((plan, Plan), (sweep, Sweep)):
        loaded = kind.load(one.save(tmp_path / kind.__name__))
        assert loaded.manifest["provenance"] == one.manifest["provenance"]
        page = loaded.report(tmp_path / "page.html").read_text(encoding="utf-8")
        assert f"made by: sflsim {sflsim.__version__}" in page


def test_a_run_of_an_earlier_version_is_shown(tmp_path: Path) -> None:
    """What its manifest lacks is left out."""
    run = simulate(read(data()), timing_only=True)
    for key in ("provenance", "batteries"):
        del run.manifest[key]
    loaded = Run.load(run.save(tmp_path / "run", plots=False))
    assert [line.partition(":")[0] for line in provenance.described(loaded.manifest)] == [
        "made by", "date", "scenario",
    ]  # fmt: skip
    assert provenance.described({}) == []
    assert loaded.empty_batteries() == []


def test_nothing_is_loaded_for_it() -> None:
    """Neither torch nor numpy."""
    code = (
        "import sys, sflsim.provenance as p; p.provenance(), p.versions();"
        "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(GIT is None, reason="there is no git here")
def test_the_commit_is_that_of_sflsims_own_checkout(tmp_path: Path) -> None:
    """With a mark where a file was changed since; none of a repository that an installed copy lies in."""
    checkout, around = tmp_path / "checkout", tmp_path / "around"
    for folder in (checkout, around / "venv"):
        shutil.copytree(ROOT / "sflsim", folder / "sflsim", ignore=shutil.ignore_patterns("__pycache__"))
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "all")
    git(around, "init", "-q")
    (around / "mine.txt").touch()
    git(around, "add", "mine.txt")
    git(around, "commit", "-q", "-m", "mine")
    commit = git(checkout, "rev-parse", "HEAD")
    assert told_in(checkout) == commit
    (checkout / "sflsim" / "errors.py").write_text("", encoding="utf-8")
    assert told_in(checkout) == f"{commit}-dirty"
    assert told_in(around / "venv") == ""
