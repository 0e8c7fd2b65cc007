"""How well do a few rates predict the training time of a network that they were not fitted to?

Twelve networks of five families were timed on two Raspberry Pis (`device_rates.csv`, with its source). Their
work by kind of operation is counted on torch's meta device; then seconds = sum of work / rate is fitted by
least squares on relative errors, no rate negative. Each network is predicted from a fit to the eleven others,
and each family from a fit to the four others. The last line gives median and worst error of both for the
Raspberry Pi 5 and the terms that predict best.

    python analysis/device_rates.py [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from networks.vision import NETWORKS
from scipy.optimize import nnls
from torch import nn

from sflsim.learning.profiling.operations import WorkCounter

Floats = npt.NDArray[np.float64]

MEASURED = Path(__file__).with_suffix(".csv")
BATCH, STEPS = 16, 20
QUICK = ["resnet18", "resnet34", "mobilenetv3_small_075", "mobilenetv3_small_100", "vit_tiny", "vit_small"]
MODELS: dict[str, tuple[str, ...]] = {
    "one FLOP/s": ("flop",),
    "FLOP/s, memory": ("flop", "memory"),
    "dense FLOP/s, depthwise": ("dense", "depthwise"),
    "convolution, depthwise, matmul, memory": ("convolution", "depthwise", "matmul", "memory"),
    "the same, per operation": ("convolution", "depthwise", "matmul", "memory", "operations"),
    "convolution, depthwise, memory, weights": ("convolution", "depthwise", "memory", "weights"),
}
CATALOG, BEST = list(MODELS)[3], list(MODELS)[5]
"""What the catalog's entries by kind are fitted with, and what predicts these networks best at this batch."""


def work(network: str) -> dict[str, float]:
    """Return what one training step of a network does: FLOP by kind, bytes moved, operations, weights.

    `weights` are the bytes of weights that a step reads or writes: once forward, twice backward.
    """
    with torch.device("meta"):
        module, x, y = NETWORKS[network](), torch.empty(BATCH, 3, 224, 224), torch.empty(BATCH).long()
        with WorkCounter() as counter:
            nn.functional.cross_entropy(module(x), y).backward()
    kinds = counter.work.kinds
    return {
        **kinds._asdict(),
        "flop": float(counter.work),
        "dense": kinds.convolution + kinds.matmul,
        "weights": 12.0 * sum(parameter.numel() for parameter in module.parameters()),
    }


def table(networks: Sequence[str]) -> pd.DataFrame:
    """Return one row for each device and network: family, seconds of a step, and work."""
    measured = pd.read_csv(MEASURED, comment="#").query("network in @networks")
    counted = pd.DataFrame({name: work(name) for name in networks}).T
    return measured.assign(step_s=measured["train_s"] / STEPS).join(counted, on="network")


def fit(amounts: Floats, seconds: Floats) -> Floats:
    """Return the seconds per unit of each kind, shape (kinds,), for amounts [networks, kinds]."""
    scale = amounts.max(axis=0)
    scale[scale == 0] = 1.0
    solution, _ = nnls(amounts / scale / seconds[:, None], np.ones(len(seconds)))
    return np.asarray(solution / scale)


def left_out(rows: pd.DataFrame, kinds: Sequence[str], by: str) -> Floats:
    """Return the relative error of every network, predicted from those that differ from it in `by`."""
    amounts, seconds = rows[list(kinds)].to_numpy(np.float64), rows["step_s"].to_numpy(np.float64)
    errors = np.empty(len(rows))
    for held in rows[by].unique():
        test = (rows[by] == held).to_numpy()
        errors[test] = amounts[test] @ fit(amounts[~test], seconds[~test]) / seconds[test] - 1
    return errors


def figures(rows: pd.DataFrame, kinds: Sequence[str]) -> tuple[float, float, float, float]:
    """Return median and worst error in % of networks left out, then of families left out."""
    errors = [100 * np.abs(left_out(rows, kinds, by)) for by in ("network", "family")]
    return tuple(float(of(error)) for error in errors for of in (np.median, np.max))  # type: ignore[return-value]


def rates(rows: pd.DataFrame, kinds: Sequence[str]) -> dict[str, float]:
    """Return the rate of each kind, fitted to all networks, in its unit per s; inf for what is free."""
    per_unit = fit(rows[list(kinds)].to_numpy(np.float64), rows["step_s"].to_numpy(np.float64))
    return {kind: float(1 / one) if one else float("inf") for kind, one in zip(kinds, per_unit, strict=True)}


def errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the errors of every network in %, by terms and by what is left out with it."""
    columns = {
        f"{by} left out: {name}": 100 * left_out(rows, kinds, by)
        for name, kinds in MODELS.items()
        for by in ("network", "family")
    }
    return rows[["device", "network", "family", "step_s"]].assign(**columns)


def report(rows: pd.DataFrame) -> Iterator[str]:
    """Yield the lines about one device: each model's errors and rates."""
    yield f"{'terms':42}{'network left out':>20}{'family left out':>20}  rates (G per s)"
    for name, kinds in MODELS.items():
        a, b, c, d = figures(rows, kinds)
        told = ", ".join(f"{kind} {rate / 1e9:.3g}" for kind, rate in rates(rows, kinds).items())
        yield f"{name:42}{f'{a:.1f} / {b:.1f} %':>20}{f'{c:.1f} / {d:.1f} %':>20}  {told}"


def main() -> None:
    """Print both devices' tables and, last, the four figures; write every network's errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="six of the twelve networks")
    parser.add_argument("--out", type=Path, default=Path("runs/device_rates"), help="folder of the table")
    given = parser.parse_args()
    rows = table(QUICK if given.quick else list(NETWORKS))
    by_device = {str(device): part for device, part in rows.groupby("device")}
    for device, part in by_device.items():
        print(device, *report(part), "", sep="\n")
    given.out.mkdir(parents=True, exist_ok=True)
    found = pd.concat([errors(part) for part in by_device.values()])
    found.to_csv(given.out / "device_rates.csv", index=False)
    a, b, c, d = figures(by_device["raspberry-pi-5"], MODELS[BEST])
    print(
        f"raspberry-pi-5, {BEST}: network left out: median {a:.1f} %, worst {b:.1f} %; "
        f"family left out: median {c:.1f} %, worst {d:.1f} %"
    )


if __name__ == "__main__":
    main()
