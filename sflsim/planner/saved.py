"""The form of a saved plan, and what becomes of those that earlier versions saved.

A plan's folder states its format in plan.json. Every format from the first on can be read: a plan is brought
into today's when it is loaded, and saved in that. A plan of a later format is refused. A plan must have the
columns of its own objectives; it need not have those of objectives that were declared later.
"""

from __future__ import annotations

from pathlib import Path

from sflsim.errors import RunError
from sflsim.experiment.folders import Contents, check
from sflsim.scenario.plan_criteria import OBJECTIVES

FORMAT = 2
RENAMED = {"settled": "exact", "broken": "violated"}
"""Columns of `points` as format 1 called them."""


def update(folder: str | Path, plan: Contents) -> None:
    """Bring the contents of a plan's folder into today's form.

    Raises:
        RunError: a later version saved them, or their objectives are not known.
    """
    form = plan.manifest.get("format", 1)
    if form not in range(1, FORMAT + 1):
        known = f"format {form}; this version reads 1 to {FORMAT}: install a newer sflsim"
        raise RunError(f"{folder}: its manifest cannot be read ({known})")
    unknown = [name for name in plan.manifest["objectives"] if name not in list(OBJECTIVES)]
    if unknown:
        raise RunError(f"{folder}: its manifest cannot be read (unknown objectives {unknown})")
    if form == FORMAT and "decided" not in plan.manifest:
        raise RunError(f"{folder}: its manifest cannot be read ('decided' is missing)")
    if form == 1:
        check(folder, plan, {"points": {"point": "int64", "time_s": "float64"}})
        points = plan.tables["points"].rename(columns=RENAMED)
        columns = [str(name) for name in points]
        plan.tables["points"] = points
        plan.manifest["decided"] = columns[columns.index("point") + 1 : columns.index("time_s")]
    plan.manifest["format"] = FORMAT
