"""Every algorithm's defaults on the bundled networks and both data sets: no training diverges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import sflsim
from sflsim.learning.data.named_images import FashionMnist
from sflsim.registry import algorithms

FASHION = Path(FashionMnist.installed)
MODELS: dict[str, dict[str, Any]] = {"mlp": {"kind": "mlp", "hidden": [64, 64]}, "cnn": {"kind": "cnn"}}
ASYNCHRONOUS = ("gas", "zo-gas", "fedasync", "fedbuff")
TAUS = [1, 2, 4, 8]


def ends(
    dataset: Any, model: dict[str, Any], variants: list[dict[str, Any]], rounds: int, cut: int = 1
) -> Any:
    """Return status and last loss of each variant after so many rounds, five of ten clients at work."""
    content = {
        "name": "defaults",
        "workload": {"dataset": dataset, "model": model, "cut": cut, "batch_size": 32},
        "fleet": {
            "clients": 10,
            "participants": 5,
            "groups": [{"share": "100%", "device": "raspberry-pi-4", "link": "wifi"}],
            "straggler": {"kind": "exponential", "mean": "2 s"},
        },
        "server": {"compute": "10 TFLOP/s", "slots": 4},
        "variants": variants,
        "stop": {"rounds": rounds},
        "evaluate": {"every": f"{rounds} rounds"},
    }
    run = sflsim.simulate(sflsim.parse_scenario(yaml.safe_dump(content)))
    last = run.evaluations.drop_duplicates("variant", keep="last").set_index("variant")["loss"]
    return run.runs.set_index("variant")["status"], last


def variants_of(names: list[str]) -> list[dict[str, Any]]:
    """Return each algorithm with nothing set but tau."""
    return [{"algorithm": name, **({"tau": TAUS} if name == "mu-splitfed" else {})} for name in names]


SYNCHRONOUS = [name for name in algorithms() if name not in (*ASYNCHRONOUS, "fedlora")]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_defaults_on_digits(model: str) -> None:
    """Losses stay below 3; chance is 2.3."""
    status, loss = ends("digits", MODELS[model], variants_of(SYNCHRONOUS), 100)
    assert set(status) == {"completed"}
    assert (loss < 3.0).all(), loss


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="no Fashion-MNIST (Debian's package dataset-fashion-mnist)")
def test_zeroth_order_defaults_on_fashion_mnist() -> None:
    """The server part of the cnn has 105,706 numbers: with the rates of small networks tau 4 diverges."""
    dataset = "fashion-mnist"
    status, loss = ends(dataset, MODELS["cnn"], variants_of(["mu-splitfed", "zo-splitfed"]), 100)
    assert set(status) == {"completed"}
    assert (loss < 3.0).all(), loss
