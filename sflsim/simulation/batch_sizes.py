"""How many samples a batch has on each device: as many as all are predicted to take equally long for.

As in MergeSFL (arXiv 2311.13348). Predicted is a first-order exchange of the workload's cut, by the mean of
whatever is drawn or changes over time: the forward and backward pass of the client part and, with
`by: exchange`, the messages too, as the variant compresses them, where nobody else shares a link. Stragglers
are not predicted. The size is (T - a_i) / s_i, a_i what any batch takes on device i and s_i what each sample
adds, rounded and between `min` and `max`; T is such that the mean over the fleet is `mean`, but for the
rounding. A device with a profile of the mean keeps to the batches that were measured; with another profile
its rates hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sflsim.fleet.block_profile import Profiled, Rate
from sflsim.fleet.devices import Device
from sflsim.fleet.population import Fleet
from sflsim.learning.config import BatchSizeByDevice
from sflsim.simulation.sent import Sent

BISECTIONS = 200


class Line(NamedTuple):
    """What a batch takes on one device, as a line over its samples, and how many it may have."""

    fixed_s: float
    """What any batch takes."""
    sample_s: float
    """What each sample adds."""
    least: int
    most: int


def batch_sizes(rule: BatchSizeByDevice, fleet: Fleet, sent: Callable[[int], Sent]) -> int | tuple[int, ...]:
    """Return the size of each device's batches, or one number if all are equal.

    `sent` gives costs and messages of a batch of so many samples; it is asked for few sizes, and often.
    """
    lines = [_line(rule, fleet.device(index).in_the_mean(), sent) for index in range(len(fleet))]
    sizes = np.rint(_balanced(rule.mean, *np.array(lines).T)).astype(np.int64).tolist()
    return sizes[0] if len(set(sizes)) == 1 else tuple(sizes)


def _line(rule: BatchSizeByDevice, device: Device, sent: Callable[[int], Sent]) -> Line:
    least, most, places = rule.min, rule.most, (rule.mean, 2 * rule.mean)
    if isinstance(device.rate, Profiled):
        low, high = _measured(device.rate, sent(rule.mean))
        if low <= rule.mean <= high:
            places = least, most = max(low, least), min(high, most)
        else:
            rates = _unmeasured(device.rate), _unmeasured(device.forward_rate)
            device = replace(device, rate=rates[0], forward_rate=rates[1])
    first_s, second_s = (_seconds(rule, device, sent(size)) for size in places)
    first, second = places
    sample_s = (second_s - first_s) / (second - first) if second > first else 0.0
    sample_s = sample_s if sample_s > 0 else first_s / first  # measured with one size alone, or with noise
    return Line(first_s - first * sample_s, sample_s, least, most)


def _unmeasured(rate: Rate) -> Rate:
    return rate.rates if isinstance(rate, Profiled) else rate


def _measured(rate: Profiled, sent: Sent) -> tuple[int, int]:
    """Return the smallest and the largest batch that a profile has of both passes; (1, 0) if it has none."""
    both = [rate.sizes(sent.costs.client_forward_flop), rate.sizes(sent.costs.client_backward_flop)]
    found = [sizes for sizes in both if sizes is not None]
    if len(found) < len(both):
        return 1, 0
    return max(low for low, _ in found), min(high for _, high in found)


def _seconds(rule: BatchSizeByDevice, device: Device, sent: Sent) -> float:
    """Return the time that an exchange with a batch of these costs is predicted to take."""
    costs = sent.costs
    seconds = costs.client_forward_flop / device.forward_rate + costs.client_backward_flop / device.rate
    if rule.by == "compute":
        return float(seconds)
    up, down = device.link.up, device.link.down
    up_s = (sent.activation_bytes + costs.labels_bytes) / device.link.up_bytes_per_s(0) / up.duty_cycle
    down_s = sent.gradient_bytes / device.link.down_bytes_per_s(0) / down.duty_cycle
    return float(seconds + up_s + up.latency_s(0) + down_s + down.latency_s(0))


def _balanced(
    mean: int,
    fixed_s: npt.NDArray[np.float64],
    sample_s: npt.NDArray[np.float64],
    least: npt.NDArray[np.float64],
    most: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return sizes between the bounds that give equal times, with this mean."""
    if not sample_s.all():  # a sample takes no time somewhere: nothing to balance
        return np.full(len(sample_s), float(mean))

    def sizes(time_s: float) -> npt.NDArray[np.float64]:
        return np.clip((time_s - fixed_s) / sample_s, least, most)

    low, high = float((fixed_s + least * sample_s).min()), float((fixed_s + most * sample_s).max())
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if sizes(middle).mean() < mean else (low, middle)
    return sizes(high)
