"""Real networks give the same tables with any number of workers, and on a GPU the same to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import read

import sflsim
from sflsim.errors import SflsimError
from sflsim.learning.accelerators import device_named

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
ADAMW = {"name": "AdamW", "lr": 0.001}
VIT = {
    "model_type": "vit", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "image_size": 32, "patch_size": 8, "num_channels": 3,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "resnet": {"kind": "resnet-18", "width": 2, "dropout": 0.3},
    "transformer": {"kind": "transformer", "config": VIT, "adapters": {"rank": 2}},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """CIFAR-10's files with 120 images of noise, cropped and flipped at random in training."""
    folder = tmp_path_factory.mktemp("cifar") / "cifar-10-batches-bin"
    folder.mkdir()
    draws = np.random.Generator(np.random.Philox(5))
    for name, count in [*((f"data_batch_{number}", 20) for number in range(1, 6)), ("test_batch", 20)]:
        labels = draws.integers(10, size=(count, 1), dtype=np.uint8)
        pixels = draws.integers(256, size=(count, 3072), dtype=np.uint8)
        (folder / f"{name}.bin").write_bytes(np.hstack([labels, pixels]).tobytes())
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n")
    return {"kind": "cifar-10", "path": str(folder.parent), "augment": {"crop": 4, "flip": True}}


def scenario(images: dict[str, Any], model: str) -> sflsim.Scenario:
    """Two seeds of a first-order and a zeroth-order algorithm, three rounds."""
    return read(
        {
            "name": "anywhere",
            "seeds": [0, 1],
            "workload": {"dataset": images, "model": MODELS[model], "cut": 1, "batch_size": 8},
            "fleet": {"clients": 3, "participants": 2, "groups": [{"device": "raspberry-pi-4"}]},
            "variants": [
                {"algorithm": "splitfed-v1", "client_optimizer": ADAMW, "server_optimizer": ADAMW},
                {"algorithm": "mu-splitfed", "tau": 2, "lam": 0.01, "eta_c": 1e-4, "eta_s": 1e-4},
            ],
            "stop": {"rounds": 3},
            "evaluate": {"every": "1 round"},
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_same_tables_with_any_number_of_workers(images: dict[str, Any], model: str) -> None:
    """Batch norm, keyed dropout, augmentation and adapters, in one process and in two: equal to the bit."""
    one, two = (sflsim.simulate(scenario(images, model), workers=workers) for workers in (1, 2))
    for name in ("evaluations", "spans", "clients"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name), check_exact=True)
    assert one.evaluations.groupby(["variant", "seed"])["loss"].nunique().min() == 4


@GPU
@pytest.mark.parametrize("model", MODELS)
def test_a_gpu_agrees_to_rounding(images: dict[str, Any], model: str) -> None:
    """Equal times and bytes, losses within 1 %: batch norm on eight samples makes much of last bits."""
    cpu, gpu = (sflsim.simulate(scenario(images, model), device=device) for device in ("cpu", "cuda"))
    pd.testing.assert_frame_equal(cpu.spans, gpu.spans, check_exact=True)
    assert np.allclose(cpu.evaluations["loss"], gpu.evaluations["loss"], rtol=0.01)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_it_is_said(images: dict[str, Any]) -> None:
    """A device that this machine has not is a mistake with an answer."""
    for device in ("cuda", "cuda:1"):
        with pytest.raises(SflsimError, match="no CUDA device"):
            sflsim.simulate(scenario(images, "resnet"), device=device)


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:-1", "cuda:0 ", "cuda:1.0", "CPU", ""])
def test_a_device_that_there_is_not_is_refused_even_where_nothing_is_learned(
    images: dict[str, Any], device: str
) -> None:
    given = scenario(images, "resnet")
    with pytest.raises(SflsimError, match="allowed: cpu, cuda, cuda:N"):
        sflsim.simulate(given, device=device, timing_only=True)
    with pytest.raises(SflsimError, match="allowed: cpu, cuda, cuda:N"):
        sflsim.sweep(given, {"stop.rounds": [1, 2]}, device=device, timing_only=True)
    with pytest.raises(SflsimError, match="allowed: cpu, cuda, cuda:N"):
        sflsim.plan(given, device=device)


@pytest.mark.parametrize(
    ("gpus", "apple", "named"),
    [
        (0, False, {"auto": "cpu"}),
        (0, True, {"auto": "mps", "mps": "mps"}),
        (2, False, {"auto": "cuda", "cuda": "cuda", "cuda:1": "cuda:1"}),
    ],
)
def test_a_gpu_is_taken_where_there_is_one(
    gpus: int, apple: bool, named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch says what is here; the third GPU of two is refused."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
    assert {name: device_named(name) for name in named} == named
    with pytest.raises(SflsimError, match="--device cuda:2: torch finds"):
        device_named("cuda:2")


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="a GPU is here")
def test_without_a_gpu_auto_is_the_cpu(images: dict[str, Any]) -> None:
    cpu, chosen = (sflsim.simulate(scenario(images, "resnet"), device=device) for device in ("cpu", "auto"))
    pd.testing.assert_frame_equal(cpu.evaluations, chosen.evaluations, check_exact=True)
