"""Rates that are not given: the paper's, bounded by a part's dimension and by tau."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from support import data, read

from sflsim import simulate

DIMENSION = 13_546  # of the cnn's server part on digits, cut after its first block


def evaluations(**rates: Any) -> pd.DataFrame:
    """Return accuracies and losses of a round of mu-splitfed with the rates given."""
    content = data(
        workload={"dataset": "digits", "model": {"kind": "cnn"}, "cut": 1, "batch_size": 8},
        variants=[{"algorithm": "mu-splitfed", **rates}],
        stop={"rounds": 1},
    )
    return simulate(read(content)).evaluations[["accuracy", "loss"]]


@pytest.mark.parametrize(
    ("taus", "steps"),
    [({"tau": 1}, 1), ({"tau": 4}, 4), ({"tau": "adaptive"}, 64), ({"tau": "adaptive", "tau_max": 9}, 9)],
)
def test_the_servers_rate_falls_with_the_root_of_tau(taus: dict[str, Any], steps: int) -> None:
    """The rate is 100 / (d sqrt(tau)), with tau_max for an adaptive tau; the client's stays the paper's."""
    given = evaluations(**taus, eta_s=100 / (DIMENSION * steps**0.5), eta_c=0.005)
    usual = evaluations(**taus)
    pd.testing.assert_frame_equal(usual, given, check_exact=True)
    assert not evaluations(**taus, eta_s=0.01).equals(usual)


def test_the_rate_of_heron_sfl_falls_with_the_dimension() -> None:
    """It is 0.005, but at most 100 / d with d the parameters of the client part and of its head."""
    images = {"dataset": "digits", "model": {"kind": "mlp", "hidden": [1024]}, "cut": 1, "batch_size": 8}
    dimension = 65 * 1024 + 1025 * 10
    expected = losses_of_heron(images, {"lr": 100 / dimension})
    assert losses_of_heron(images, {}) == expected
    assert losses_of_heron(images, {"lr": 0.005}) != expected
    small = {**images, "model": {"kind": "mlp", "hidden": [8]}}
    assert losses_of_heron(small, {}) == losses_of_heron(small, {"lr": 0.005})


def losses_of_heron(workload: dict[str, Any], optimizer: dict[str, Any]) -> list[float]:
    """Return the losses of two rounds of heron-sfl with the client's optimizer given."""
    variants = [{"algorithm": "heron-sfl", "client_optimizer": optimizer}]
    run = simulate(read(data(workload=workload, variants=variants, stop={"rounds": 2})))
    return [float(loss) for loss in run.evaluations["loss"]]
