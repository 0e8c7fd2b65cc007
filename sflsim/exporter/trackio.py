"""Trials as runs of trackio: timestamps are simulated time, steps are rounds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sflsim.errors import RunError, SflsimError
from sflsim.exporter.trials import Trial
from sflsim.report.style import safe_name

BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
"""Simulated time 0, as in the other trackers."""
FOLDER = "TRACKIO_DIR"
"""The variable that names the folder of all of trackio's projects; trackio reads it when it is loaded."""


def to_trackio(trials: Sequence[Trial], project: str, folder: Path) -> Path:
    """Write a run for each trial to a project of trackio's folder `folder`, and return its file.

    Raises:
        ImportError: trackio is not installed.
        RunError: there is such a project already.
        SflsimError: trackio was loaded before, with another folder.
    """
    os.environ[FOLDER] = str(folder.absolute())
    from trackio import utils
    from trackio.sqlite_storage import SQLiteStorage

    if utils.TRACKIO_DIR.absolute() != folder.absolute():
        raise SflsimError(f"trackio was loaded with {FOLDER}={utils.TRACKIO_DIR}; set {FOLDER} before that")
    name = safe_name(project, set())
    file = Path(SQLiteStorage.get_project_db_path(name))
    if file.exists():
        raise RunError(f"{file}: exists already; remove it, or name another folder with --out")
    for trial in trials:
        SQLiteStorage.bulk_log(
            project=name,
            run=trial.name,
            metrics_list=[dict(moment.figures) for moment in trial.moments],
            steps=[moment.round for moment in trial.moments],
            timestamps=[(BEGIN + timedelta(seconds=one.time_s)).isoformat() for one in trial.moments],
            config=dict(trial.settings),
        )
    return file
