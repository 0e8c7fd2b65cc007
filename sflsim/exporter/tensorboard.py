"""Trials as event files of TensorBoard: wall time is simulated time, steps are rounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sflsim.errors import RunError
from sflsim.exporter.trials import Trial
from sflsim.report.style import safe_name


def to_tensorboard(trials: Sequence[Trial], project: str, folder: Path) -> Path:
    """Write a folder of events for each trial to `folder`/`project`, and return that.

    Raises:
        ImportError: TensorBoard is not installed.
        RunError: the folder is there already: further events would lie over those in it.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    place = folder / project
    if place.exists():
        raise RunError(f"{place}: exists already; remove it, or name another folder with --out")
    taken = set[str]()
    for trial in trials:
        writer = EventFileWriter(str(place / safe_name(trial.name, taken)))
        settings = hparams_pb(dict(trial.settings), trial_id=trial.name, start_time_secs=0)
        writer.add_event(Event(wall_time=0.0, step=0, summary=settings))
        for moment in trial.moments:
            values = [Summary.Value(tag=name, simple_value=one) for name, one in moment.figures.items()]
            writer.add_event(Event(wall_time=moment.time_s, step=moment.round, summary=Summary(value=values)))
        writer.close()
    return place
