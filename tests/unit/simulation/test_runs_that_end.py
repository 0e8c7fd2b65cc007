"""A run ends, or is refused once it is known that it never would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import FAST, data, read, within_bounds

from sflsim.errors import ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

ONE = {key: value for key, value in FAST.items() if key != "count"}


def run(**fields: Any) -> Run:
    """Return a run on the clock alone, which keeps within the bounds."""
    with within_bounds():
        return simulate(read(data(**fields)), timing_only=True)


def fleet(**fields: Any) -> dict[str, Any]:
    return {"clients": 2, "groups": [{**ONE, **fields.pop("group", {})}], **fields}


def test_a_model_that_stays_the_same_is_not_evaluated_for_ever() -> None:
    """One round of 2.4e8 ms: the evaluations stop, and go on in step when the model has changed."""
    slow = fleet(group={"device": {"compute": "1e-4 FLOP/s"}})
    times_s = run(fleet=slow, evaluate={"every": "1 ms"}, stop={"rounds": 2}).evaluations["time_s"].to_numpy()
    assert len(times_s) < 2500
    first, last = times_s[:1001], times_s[1001:]
    assert first == pytest.approx(np.arange(1001) * 1e-3)
    assert last[0] == pytest.approx(240_019.25, abs=5)  # the round's end
    assert (last[:-1] * 1e3) == pytest.approx(np.round(last[:-1] * 1e3), abs=1e-4)
    assert np.diff(last[:-1]) == pytest.approx(1e-3, abs=1e-9)


@pytest.mark.parametrize("every", ["7 s", "1 s"])
def test_an_ordinary_run_is_evaluated_at_every_multiple(every: str) -> None:
    """Also where its model stays the same."""
    step_s = float(every.split()[0])
    times_s = run(evaluate={"every": every}).evaluations["time_s"].to_numpy()
    assert times_s[:-1] == pytest.approx(np.arange(len(times_s) - 1) * step_s)
    assert len(times_s) == 28 // step_s + (28 % step_s > 0) + 1


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "fedasync"])
def test_clients_that_are_there_for_less_than_an_instant_are_never_met(algorithm: str) -> None:
    away = fleet(availability={"kind": "markov", "on": "1e-9 s", "off": "60 s"})
    runs = run(fleet=away, variants=[algorithm], stop={"rounds": 3}).runs
    assert runs["status"].tolist() == ["stalled"]
    assert "stay" in runs["reason"][0]


def test_a_time_that_the_clock_cannot_count_is_refused() -> None:
    """Clients that come back after longer than any run may take."""
    events = [{"at": "1 s", "leave": True}, {"at": "1e12 s", "join": True}]
    late = fleet(events=events, group={"device": {"compute": "1e-12 FLOP/s"}})
    with pytest.raises(ScenarioError, match="more than 1e\\+12 s") as caught:
        run(fleet=late, stop={"rounds": 3})
    assert caught.value.problems[0].line is not None


def trace(folder: Path, rows: str) -> dict[str, Any]:
    file = folder / "rates.csv"
    file.write_text(f"time_s,rate\n{rows}", encoding="utf-8")
    return {"kind": "trace", "file": str(file), "values_in": "byte/s", "repeat": True}


def test_a_trace_of_nanoseconds_is_refused(tmp_path: Path) -> None:
    """Each of its steps would be an event."""
    link = {"up": "unlimited", "down": trace(tmp_path, "0,1\n1e-9,2\n2e-9,1\n")}
    with pytest.raises(ScenarioError, match="average the rows") as caught:
        run(server={"link": link})
    assert caught.value.problems[0].path == "server.link.down.file"


def test_a_message_that_outlasts_any_trace_is_refused(tmp_path: Path) -> None:
    """1e13 bytes at about 1 byte/s through a link that changes every minute."""
    link = {"up": "unlimited", "down": trace(tmp_path, "0,1\n60,2\n120,1\n")}
    costs = {**data()["workload"]["costs"], "activation": "1e13 byte"}
    with pytest.raises(ScenarioError, match="longer steps"):
        run(server={"link": link}, workload={**data()["workload"], "costs": costs})


def test_batches_are_counted() -> None:
    """10^9 local iterations are one computation and one number."""
    spans = run(variants=[{"algorithm": "fedavg", "local_iterations": 10**9}]).spans
    assert set(spans.loc[spans["activity"] == "compute", "flop"]) == {52e9}
