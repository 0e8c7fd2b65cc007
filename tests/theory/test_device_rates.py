"""Rates by kind of operation predict measured training times of networks that they were not fitted to."""

from __future__ import annotations

import device_rates
import numpy as np
import pandas as pd
import pytest
import torch
from networks.vision import NETWORKS
from torch import nn

from sflsim.fleet.catalog import entries
from sflsim.fleet.devices import DeviceConfig
from sflsim.fleet.rates import RatesConfig
from sflsim.learning.network.split import cut_blocks
from sflsim.learning.profiling.measure import Whole, derive_costs

PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "mobilenetv2_050": 1_968_680,
    "mobilenetv2_100": 3_504_872,
    "mobilenetv3_small_075": 2_041_872,
    "mobilenetv3_small_100": 2_542_856,
    "mobilenetv3_large_075": 3_993_528,
    "mobilenetv3_large_100": 5_483_032,
    "vit_tiny": 5_717_416,
    "vit_small": 22_050_664,
    "vit_base": 86_567_656,
}
"""Parameters of the networks, as the papers and the library of the measurements give them."""


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return device_rates.table(list(NETWORKS))


def of(rows: pd.DataFrame, device: str) -> pd.DataFrame:
    return rows[rows["device"] == device]


def test_the_networks_are_those_that_were_measured() -> None:
    """Every network has as many parameters as published."""
    with torch.device("meta"):
        counted = {
            name: sum(parameter.numel() for parameter in make().parameters())
            for name, make in NETWORKS.items()
        }
    assert counted == PUBLISHED


@pytest.mark.slow
def test_the_flop_are_those_published(rows: pd.DataFrame) -> None:
    """ResNet-18: 1.814 GMAC for an image; a training step takes three passes but for the image's gradient."""
    resnet = of(rows, "raspberry-pi-5").set_index("network").loc["resnet18"]
    stem = 49 * 3 * 64 * 112**2
    assert resnet["flop"] == 2 * 16 * (3 * 1_814_073_344 - stem)


@pytest.mark.slow
def test_a_raspberry_pi_5_is_predicted(rows: pd.DataFrame) -> None:
    """Networks left out: 6 % in the median, 20 % at worst; families: 10 and 45 %. One rate: 92 and 102 %."""
    pi = of(rows, "raspberry-pi-5")
    median, worst, family_median, family_worst = device_rates.figures(
        pi, device_rates.MODELS[device_rates.BEST]
    )
    assert median <= 6
    assert worst <= 20
    assert family_median <= 10
    assert family_worst <= 45
    one_median, one_worst, *_ = device_rates.figures(pi, ("flop",))
    assert one_median > 90
    assert one_worst > 100


@pytest.mark.slow
@pytest.mark.parametrize("device", ["raspberry-pi-4", "raspberry-pi-5"])
def test_the_terms_of_the_catalog_predict_left_out_networks(rows: pd.DataFrame, device: str) -> None:
    """With a rate for matrix products in place of one for weights, no batch size is fixed."""
    median, worst, *_ = device_rates.figures(of(rows, device), device_rates.MODELS[device_rates.CATALOG])
    assert median <= 6
    assert worst <= 20


def test_a_fit_finds_the_rates_that_made_the_times() -> None:
    """Seconds made from known rates give these back, and a kind that costs nothing has none."""
    amounts = np.random.default_rng(0).uniform(1, 100, (12, 3)) * np.array([1e9, 1e6, 1e3])
    per_unit = np.array([1 / 16e9, 0.0, 1 / 2e3])
    assert device_rates.fit(amounts, amounts @ per_unit) == pytest.approx(per_unit, rel=1e-9, abs=1e-20)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["raspberry-pi-4", "raspberry-pi-5"])
def test_the_catalog_has_the_fitted_rates(rows: pd.DataFrame, device: str) -> None:
    """Every rate of the entry by kind is that of the fit, to three digits; so is the error that it states."""
    kinds = device_rates.MODELS[device_rates.CATALOG]
    config = DeviceConfig.named(f"{device}-by-kind")
    assert isinstance(config.compute, RatesConfig)
    fitted = device_rates.rates(of(rows, device), kinds)
    assert {kind: getattr(config.compute, kind) for kind in kinds} == pytest.approx(fitted, rel=0.005)

    median, worst, *_ = device_rates.figures(of(rows, device), kinds)
    stated = entries("devices")[f"{device}-by-kind"].fitted
    assert stated is not None
    assert f"median {median:.1f} %, worst {worst:.1f} %" in stated.error


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet18", "mobilenetv3_small_100", "vit_tiny"])
def test_the_costs_of_a_scenario_predict_a_training_step(network: str) -> None:
    """The costs derived for a cut network, at the catalog's rates, take what was measured, within 10 %."""
    with torch.device("meta"):
        layers = list(NETWORKS[network]())
    blocks = [("client", nn.Sequential(*layers[:4])), ("server", nn.Sequential(*layers[4:]))]
    parts, image = cut_blocks(blocks, 1), torch.empty(3, 224, 224)
    costs = derive_costs(*parts, image, device_rates.BATCH, Whole(0, 0, 0), by_kind=True)
    config = DeviceConfig.named("raspberry-pi-5-by-kind")
    assert isinstance(config.compute, RatesConfig)

    client = costs.client_forward_flop + costs.client_backward_flop
    server = costs.server_forward_flop + costs.server_backward_flop
    measured = pd.read_csv(device_rates.MEASURED, comment="#").set_index(["device", "network"])["train_s"]
    measured_s = measured["raspberry-pi-5", network] / device_rates.STEPS
    assert (client + server) / config.compute.rates() == pytest.approx(measured_s, rel=0.1)
