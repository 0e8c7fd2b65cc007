"""Trials as runs of MLflow: timestamps are simulated time in ms, steps are rounds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sflsim.errors import RunError
from sflsim.exporter.trials import Trial

BATCH = 1000
"""Figures that MLflow takes at once."""


def to_mlflow(trials: Sequence[Trial], project: str, folder: Path) -> Path:
    """Write a run for each trial to the experiment `project` of `folder`/mlflow.db, and return that file.

    Raises:
        ImportError: MLflow is not installed.
        RunError: it has such an experiment already, or MLflow cannot open a file of that path.
    """
    import alembic  # noqa: F401  # with the next, of mlflow's extra: mlflow-skinny leaves both out
    import sqlalchemy  # noqa: F401
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    file = folder / "mlflow.db"
    if {"%", "?"} & set(str(file.absolute())):
        raise RunError(f"{file}: MLflow opens no database whose path has % or ?; name another with --out")
    folder.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=f"sqlite:///{file.absolute()}")
    if client.get_experiment_by_name(project) is not None:
        raise RunError(f"{file}: has an experiment {project!r} already; name another folder with --out")
    experiment = client.create_experiment(
        project, artifact_location=(folder / "artifacts").absolute().as_uri()
    )
    for trial in trials:
        run = client.create_run(experiment, start_time=0, run_name=trial.name).info.run_id
        params = [Param(_key(name), str(value)) for name, value in trial.settings.items()]
        client.log_batch(run, params=params)
        metrics = [
            Metric(_key(name), figure, round(1000 * moment.time_s), moment.round)
            for moment in trial.moments
            for name, figure in moment.figures.items()
        ]
        for first in range(0, len(metrics), BATCH):
            client.log_batch(run, metrics=metrics[first : first + BATCH])
        end_s = max((moment.time_s for moment in trial.moments), default=0.0)
        client.set_terminated(run, end_time=round(1000 * end_s))
    return file


def _key(name: str) -> str:
    """Return a name of the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
