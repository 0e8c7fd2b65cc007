"""The accuracy of the last model for each client: held-out samples in the client's mix of labels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from oracle import harness
from support import data, read

from sflsim.errors import ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.metrics.summary import summarize

SKEWED = {"partition": {"kind": "dirichlet", "alpha": 0.3}}
V1 = {"algorithm": "splitfed-v1", "client_optimizer": {"lr": 0.5}, "server_optimizer": {"lr": 0.5}}


def content(**fields: Any) -> dict[str, Any]:
    """Return a scenario of six clients, of whom one takes part in each of two rounds."""
    whole = data()
    group = {"name": "pi", "device": {"compute": "8 FLOP/s"}, "link": "wifi"}
    fleet = {"clients": 6, "participants": 1, "groups": [group]}
    workload = {**whole["workload"], **SKEWED}
    return {
        **whole,
        "workload": workload,
        "fleet": fleet,
        "variants": [V1],
        "stop": {"rounds": 2},
        "evaluate": {"every": "1 round", "clients": True},
        **fields,
    }


def test_it_is_the_weighted_share_of_right_answers() -> None:
    """By hand: each held-out sample counts as the client's share of its label, over how many have it."""
    session = harness.RecordingSession(
        harness.scenario(V1, rounds=3, workload=SKEWED, evaluate={"every": "1 round", "clients": True})
    )
    outcome = session.run(0, 0, lambda row: None)
    task, model = session.learner.task, session.learner.models[-1]
    x, y = task.data.inputs(task.data.test_x), task.data.test_y.numpy()
    with torch.no_grad():
        z = task.client.apply(task.client.views(model["client"][None]), x)
        right = task.server.apply(task.server.views(model["server"][None]), z).argmax(1).numpy() == y
    counts = np.bincount(y)
    found = [row.client_accuracy for row in outcome.clients]
    for client, shard in enumerate(task.shards):
        own = task.data.train_y[shard].numpy()
        weights = np.array([(own == label).sum() / len(own) / counts[label] for label in y])
        assert weights.sum() == pytest.approx(1)
        assert found[client] == pytest.approx(float((weights * right).sum()), abs=1e-6)
    assert np.std(found) > 0.02


def test_every_client_has_a_row_and_nothing_else_changes(tmp_path: Path) -> None:
    """Also those that took no part; the other tables and columns are those of the run without it."""
    on = simulate(read(content()), cache=tmp_path)
    off = simulate(read(content(evaluate={"every": "1 round"})), cache=tmp_path)
    for name in ("evaluations", "spans", "runs"):
        pd.testing.assert_frame_equal(getattr(on, name), getattr(off, name))
    assert len(on.clients) == 6
    assert on.clients["client_accuracy"].notna().all()
    selected = on.clients[on.clients["client"].isin(off.clients["client"])].reset_index(drop=True)
    assert len(selected) < 6
    without = [one.drop(columns="client_accuracy") for one in (selected, off.clients)]
    pd.testing.assert_frame_equal(*without)
    assert off.clients["client_accuracy"].isna().all()
    assert off.summary()["client_accuracy_std"].isna().all()


def test_it_is_kept_in_the_folder_and_drawn(tmp_path: Path) -> None:
    found = simulate(read(content()))
    found.save(tmp_path / "run")
    again = Run.load(tmp_path / "run")
    pd.testing.assert_frame_equal(again.clients, found.clients)
    assert (tmp_path / "run" / "plots" / "client_accuracy.png").stat().st_size > 3000
    names = [name for name, _ in simulate(read(content(evaluate={"every": "1 round"}))).pictures(_page())]
    assert "client_accuracy" not in names


def _page() -> Any:
    from sflsim.report.style import PAGE

    return PAGE


def test_the_spread_by_hand() -> None:
    """Of each seed the standard deviation over its clients; of these the mean."""
    rows = [("a", 0, 0.2), ("a", 0, 0.6), ("a", 1, 0.5), ("a", 1, 0.5), ("b", 0, 0.9), ("b", 0, math.nan)]
    clients = pd.DataFrame(rows, columns=["variant", "seed", "client_accuracy"]).assign(client=["x", "y"] * 3)
    runs = pd.DataFrame({"variant": ["a", "a", "b"], "seed": [0, 1, 0], "status": "completed"})
    summary = summarize(None, runs, None, clients).set_index("variant")
    assert summary["client_accuracy_std"].to_dict() == pytest.approx({"a": 0.1, "b": 0.0})


def test_the_clock_alone_has_none() -> None:
    found = simulate(read(content()), timing_only=True)
    assert found.clients["client_accuracy"].isna().all()
    assert len(found.clients) < 6


@pytest.mark.parametrize("clients", ["yes", 1, None, "all"])
def test_it_is_wanted_or_not(clients: Any) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(data(evaluate={"clients": clients}))
    (problem,) = caught.value.problems
    assert problem.path == "evaluate.clients"
