"""How many samples a batch has on each device: as many as all are predicted to take equally long for.

As in MergeSFL (arXiv 2311.13348). Predicted is a first-order exchange of the workload's cut, by the mean of
whatever is drawn or changes over time: the forward and backward pass of the client part and, with
`by: exchange`, the messages too, where nobody else shares a link. Stragglers are not predicted. The size is
(T - a_i) / s_i, a_i what any batch takes on device i and s_i what each sample adds, rounded and between `min`
and `max`; T is such that the mean over the fleet is `mean`, but for the rounding.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sflsim.fleet.devices import Device
from sflsim.fleet.population import Fleet
from sflsim.learning.config import BatchSizeByDevice
from sflsim.learning.costs import Costs

BISECTIONS = 200


def batch_sizes(
    rule: BatchSizeByDevice, fleet: Fleet, costs: Costs, of_twice: Costs
) -> int | tuple[int, ...]:
    """Return the size of each device's batches, or one number if all are equal.

    `costs` are those of a batch of `rule.mean` samples, `of_twice` those of one of twice as many.
    """
    devices = [fleet.device(index).in_the_mean() for index in range(len(fleet))]
    mean_s = np.array([_seconds(rule, device, costs) for device in devices])
    sample_s = (np.array([_seconds(rule, device, of_twice) for device in devices]) - mean_s) / rule.mean
    sample_s = np.where(sample_s > 0, sample_s, mean_s / rule.mean)  # one of both alone is in a profile
    sizes = np.rint(_balanced(rule, mean_s - rule.mean * sample_s, sample_s)).astype(np.int64).tolist()
    return sizes[0] if len(set(sizes)) == 1 else tuple(sizes)


def _seconds(rule: BatchSizeByDevice, device: Device, costs: Costs) -> float:
    """Return the time that an exchange with a batch of these costs is predicted to take."""
    seconds = costs.client_forward_flop / device.forward_rate + costs.client_backward_flop / device.rate
    if rule.by == "compute":
        return float(seconds)
    up, down = device.link.up, device.link.down
    up_s = (costs.activation_bytes + costs.labels_bytes) / device.link.up_bytes_per_s(0) / up.duty_cycle
    down_s = costs.activation_bytes / device.link.down_bytes_per_s(0) / down.duty_cycle
    return float(seconds + up_s + up.latency_s(0) + down_s + down.latency_s(0))


def _balanced(
    rule: BatchSizeByDevice, fixed_s: npt.NDArray[np.float64], sample_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return sizes between the bounds that give equal times, with the mean of the rule."""
    if not sample_s.all():  # a sample takes no time somewhere: nothing to balance
        return np.full(len(sample_s), float(rule.mean))

    def sizes(time_s: float) -> npt.NDArray[np.float64]:
        return np.clip((time_s - fixed_s) / sample_s, rule.min, rule.most)

    low, high = float((fixed_s + rule.min * sample_s).min()), float((fixed_s + rule.most * sample_s).max())
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if sizes(middle).mean() < rule.mean else (low, middle)
    return sizes(high)
