"""A run of the clock alone, with its costs given, never loads torch: a planner need not have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml
from support import data

VARIANTS = [{"algorithm": name} for name in ("splitfed-v1", "mu-splitfed", "ho-sfl", "cse-fsl", "fedasync")]
CODE = """
import sys
import sflsim
run = sflsim.simulate(sflsim.load_scenario(sys.argv[1]), timing_only=True, keep_spans=False)
assert run.runs["status"].eq("completed").all()
sys.exit(3 if "torch" in sys.modules else 0)
"""


def test_timing_only_does_not_import_torch(tmp_path: Path) -> None:
    """In a process of its own, as tests that ran before this one may have loaded it."""
    file = tmp_path / "scenario.yaml"
    file.write_text(yaml.safe_dump(data(variants=VARIANTS, stop={"rounds": 2})))
    done = subprocess.run([sys.executable, "-c", CODE, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "torch was imported"
