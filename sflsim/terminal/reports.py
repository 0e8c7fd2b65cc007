"""The page of whatever a folder holds (a run, a sweep or a plan), and its pictures."""

from __future__ import annotations

import os
from pathlib import Path

from sflsim.errors import RunError, SflsimError
from sflsim.experiment.run import Run
from sflsim.planner.plan import Plan
from sflsim.sweeps.sweep import Sweep


def write_report(folder: Path, file: Path, target: float | None = None, *, trust: bool = False) -> Path:
    """Write the page of the run, sweep or plan in `folder` to `file` and return its path.

    `target` is the target accuracy that the page of a run opens with.

    Raises:
        RunError: the folder holds none of them.
        SflsimError: plotly is not installed, or a target is given for what has its own.
    """
    result = loaded(folder, trust=trust)
    if isinstance(result, Run):
        return result.report(file, target)
    if target is not None:
        raise SflsimError("--target: only the report of a run takes one; a sweep and a plan have their own")
    return result.report(file)


def loaded(folder: Path, *, trust: bool = False) -> Run | Sweep | Plan:
    """Return what a folder holds (raises RunError where it is none of the three)."""
    kinds: dict[str, type[Run] | type[Sweep] | type[Plan]]
    kinds = {"run.json": Run, "sweep.json": Sweep, "plan.json": Plan}
    for name, kind in kinds.items():
        if os.path.isfile(folder / name):
            return kind.load(folder, trust=trust)
    raise RunError(
        f"{folder}: no run.json, sweep.json or plan.json; is this the folder of a run, a sweep or a plan?"
    )


def draw(
    folder: Path, to: Path, target: float | None = None, *, trust: bool = False
) -> tuple[list[Path], list[str]]:
    """Draw the pictures of what is in `folder`; return their paths, and what is not drawn.

    Raises:
        RunError: the folder holds no result, or a picture cannot be drawn.
        SflsimError: a target is given for a sweep or a plan, which have their own.
    """
    result = loaded(folder, trust=trust)
    if isinstance(result, Run):
        return result.plot(to, target), result.not_drawn()
    if target is not None:
        raise SflsimError("--target: only the pictures of a run take one; a sweep and a plan have their own")
    return result.plot(to), []
