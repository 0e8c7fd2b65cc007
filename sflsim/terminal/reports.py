"""The page of whatever a folder holds: a run, a sweep or a plan."""

from __future__ import annotations

import os
from pathlib import Path

from sflsim.errors import RunError, SflsimError


def write_report(folder: Path, file: Path, target: float | None = None, *, trust: bool = False) -> Path:
    """Write the page of the run, sweep or plan in `folder` to `file` and return its path.

    `target` is the target accuracy that the page of a run opens with.

    Raises:
        RunError: the folder holds none of them.
        SflsimError: plotly is not installed, or a target is given for what has its own.
    """
    if os.path.isfile(folder / "run.json"):
        from sflsim.experiment.run import Run

        return Run.load(folder, trust=trust).report(file, target)
    if target is not None:
        raise SflsimError("--target: only the report of a run takes one; a sweep and a plan have their own")
    if os.path.isfile(folder / "sweep.json"):
        from sflsim.sweeps.sweep import Sweep

        return Sweep.load(folder, trust=trust).report(file)
    if os.path.isfile(folder / "plan.json"):
        from sflsim.planner.plan import Plan

        return Plan.load(folder, trust=trust).report(file)
    raise RunError(
        f"{folder}: no run.json, sweep.json or plan.json; is this the folder of a run, a sweep or a plan?"
    )
