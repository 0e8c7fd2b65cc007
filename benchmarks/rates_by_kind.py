"""Rates by kind, fitted to calibrate's small networks, against networks that they were not fitted to.

Predicted are training steps (forward and backward pass) and zeroth-order passes of client parts: other
families (MobileNetV3 at 64 pixels, ViT at 224, the cnn of digits) and a larger network of one that was fitted
(ResNet-18 of width 16), at one or two cuts and with batches of 8 and 64, of which 64 was never fitted.
All are measured in turn, in processor time of one thread; the least of the repetitions counts. The machine's
own noise is told: how far the least of every other repetition is from that of the rest.

Goals: 15 % in the median, 35 % at worst. Run: `python benchmarks/rates_by_kind.py [--quick]`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sflsim.diagnostics.kinds import fit
from sflsim.learning.models.cnn import CNN
from sflsim.learning.models.resnet import ResNet18
from sflsim.learning.profiling.calibration import Measured, measure
from sflsim.learning.profiling.places import Place, of_networks, parts
from sflsim.learning.profiling.small_networks import BATCH_SIZES, NETWORKS

sys.path.append(str(Path(__file__).parents[1] / "analysis"))
from networks.vision import NETWORKS as VISION

Blocks = list[tuple[str, nn.Module]]
MEDIAN, WORST = 0.15, 0.35
LEFT_OUT_BATCHES = (8, 64)
REST_S = 0.005


def vision(name: str, blocks: int) -> Callable[[], Blocks]:
    """Return what builds the first blocks of a published network."""

    def build() -> Blocks:
        layers = list(VISION[name]().children())[:blocks]
        for module in nn.Sequential(*layers).modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # a block's input is not its own
        return [(f"{number}", layer) for number, layer in enumerate(layers)]

    return build


LEFT_OUT: dict[str, tuple[Callable[[], Blocks], tuple[int, ...], Sequence[int]]] = {
    "resnet-18, width 16": (lambda: ResNet18(width=16).build((3, 32, 32), 10), (3, 32, 32), (3, 10)),
    "cnn of digits": (lambda: CNN().build((1, 8, 8), 10), (1, 8, 8), (1, 4)),
    "mobilenetv3_small_075": (vision("mobilenetv3_small_075", 10), (3, 64, 64), (5, 10)),
    "vit_tiny": (vision("vit_tiny", 2), (3, 224, 224), (2,)),
}
"""By name: what builds the blocks, a sample's shape, and the cuts (the last: all of these blocks)."""


def left_out() -> Iterator[Place]:
    """Yield the client parts of the networks that are left out."""
    for name, (build, shape, cuts) in LEFT_OUT.items():
        network = build()
        with torch.device("meta"):
            weightless = build()
        for size in LEFT_OUT_BATCHES:
            x = torch.randn(size, *shape, generator=torch.Generator().manual_seed(0))
            spans = [(f"cut {cut}", 0, cut) for cut in cuts]
            yield from parts(network, weightless, x, spans, name)


def least(one: Measured, first: int = 0, step: int = 1) -> float:
    """Return the least time of some repetitions, in s."""
    return min(one.seconds[first::step])


Figure = tuple[str, Sequence[Measured], float]
"""A training step or a zeroth-order pass: its name, what it consists of, and the share of that."""


def figures(measured: Sequence[Measured]) -> Iterator[Figure]:
    """Yield every training step and every zeroth-order pass."""
    for forward, backward, step in zip(measured[::3], measured[1::3], measured[2::3], strict=True):
        name = f"{forward.network}, {forward.part}, batch {forward.batch_size}"
        yield f"{name}: training step", (forward, backward), 1.0
        yield f"{name}: zeroth-order pass", (step,), 0.5


def main() -> None:
    """Measure, fit, predict and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two repetitions")
    parser.add_argument("--repeat", type=int, default=16, help="repetitions of each measurement")
    given = parser.parse_args()
    places = [*of_networks(NETWORKS, BATCH_SIZES), *left_out()]
    repeat = 2 if given.quick else given.repeat
    found = measure(places, repeat=repeat, rest_s=REST_S, clock="cpu")
    known = [one for one in found if one.network in NETWORKS]
    rates = fit([one.flop for one in known], [least(one) for one in known])
    speeds = np.array([float(one.flop) / least(one) for one in known])
    one_rate = float((speeds**2).sum() / speeds.sum())  # least squares on relative errors, of FLOP alone
    rows = list(figures([one for one in found if one.network not in NETWORKS]))
    errors, of_one_rate, noise = [], [], []
    for name, of, share in rows:
        real_s = share * sum(map(least, of))
        predicted_s = share * sum(one.flop / rates for one in of)
        errors.append(predicted_s / real_s - 1)
        of_one_rate.append(share * float(sum(one.flop for one in of)) / one_rate / real_s - 1)
        noise.append(sum(least(one, 0, 2) for one in of) / sum(least(one, 1, 2) for one in of) - 1)
        print(f"{name:64}{1e3 * real_s:9.3f} ms {errors[-1]:+7.0%}   one rate {of_one_rate[-1]:+7.0%}")
    print(f"rates by kind: {rates.seconds._asdict()} (s for each), one rate: {one_rate / 1e9:.1f} GFLOP/s")
    for what, values in (("noise", noise), ("one rate", of_one_rate), ("rates by kind", errors)):
        size = np.abs(values)
        print(f"{what}: median {np.median(size):.1%}, worst {size.max():.1%}, of {len(size)} figures")
    met = np.median(np.abs(errors)) <= MEDIAN and np.abs(errors).max() <= WORST
    print(f"goals: median {MEDIAN:.0%}, worst {WORST:.0%}: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
