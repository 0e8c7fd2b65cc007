"""What the package says a client's training peaks at, against what real processes peak at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sflsim.algorithms.mu_splitfed import MuSplitFed
from sflsim.algorithms.splitfed_v1 import SplitFedV1
from sflsim.learning.config import Workload
from sflsim.scenario.loading import parse_scenario
from sflsim.session import Options, Session

CLIENT = Path(__file__).with_name("memory_client.py")
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Lets the C library give freed memory back at once: what is measured is need, not what it hoards."""


def measured_bytes(workload: dict[str, Any], order: str) -> float:
    """Return what a real process peaks at."""
    ended = subprocess.run(
        [sys.executable, str(CLIENT), json.dumps(workload), order],
        env={**os.environ, **RETURNED, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stdout.split()[-1])


def stated_bytes(workload: dict[str, Any], order: str) -> float:
    """Return what the package says, for the same work."""
    scenario = parse_scenario(
        json.dumps(
            {
                "name": "memory",
                "workload": workload,
                "fleet": {"clients": 1, "groups": [{"device": "raspberry-pi-4"}]},
                "variants": ["splitfed-v1"],
                "stop": {"rounds": 1},
            }
        )
    )
    session = Session(scenario, Options(timing_only=True))
    costs = session.requirements.costs(int(Workload.model_validate(workload).cut))
    momentum = {"client_optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9}}
    if order == "first-order":
        return SplitFedV1(SplitFedV1.Config.model_validate(momentum)).client_memory_bytes(costs)
    return MuSplitFed(MuSplitFed.Config()).client_memory_bytes(costs)


WIDE = {
    "dataset": "digits",
    "model": {"kind": "mlp", "hidden": [4096, 2048, 64]},
    "cut": 3,
    "batch_size": 512,
}
LARGE_IMAGES = {
    "dataset": "digits",
    "model": {"kind": "cnn", "channels": [256, 512], "dense": 64},
    "cut": 2,
    "batch_size": 1024,
}

RESIDUAL = {"dataset": "cifar-10", "model": "resnet-18", "cut": 7, "batch_size": 64}

LAYERS = {"hidden_size": 640, "num_hidden_layers": 9, "num_attention_heads": 10, "ffn_dim": 2560}
WORDS = {"vocab_size": 8000, "word_embed_proj_dim": 640, "max_position_embeddings": 256}
TRANSFORMER = {  # 50 million parameters
    "dataset": {"kind": "sst-2", "max_length": 128},
    "model": {"kind": "transformer", "config": {"model_type": "opt", **LAYERS, **WORDS}},
    "cut": 6,
    "batch_size": 8,
}
ADAPTED = {**TRANSFORMER, "model": {**TRANSFORMER["model"], "adapters": {"rank": 8}}}  # type: ignore[dict-item]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize(
    ("workload", "order"),
    [
        pytest.param(WIDE, "zeroth-order", id="mlp-zeroth-order"),
        pytest.param(LARGE_IMAGES, "first-order", id="cnn-first-order", marks=pytest.mark.slow),
        pytest.param(WIDE, "first-order", id="mlp-first-order", marks=pytest.mark.slow),
        pytest.param(LARGE_IMAGES, "zeroth-order", id="cnn-zeroth-order", marks=pytest.mark.slow),
    ],
)
def test_stated_memory_is_what_a_process_peaks_at(workload: dict[str, Any], order: str) -> None:
    """Within 15 %."""
    check(workload, order)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("order", ["first-order", "zeroth-order"])
@pytest.mark.parametrize(
    "workload", [RESIDUAL, TRANSFORMER, ADAPTED], ids=["resnet-18", "transformer", "adapters"]
)
def test_stated_memory_of_large_models(workload: dict[str, Any], order: str) -> None:
    """The same for networks that take a while."""
    check(workload, order)


def check(workload: dict[str, Any], order: str) -> None:
    real, stated = measured_bytes(workload, order), stated_bytes(workload, order)
    print(f"{order}: stated {stated / 1e6:.1f} MB, measured {real / 1e6:.1f} MB, {stated / real - 1:+.1%}")
    assert abs(stated / real - 1) < 0.15
