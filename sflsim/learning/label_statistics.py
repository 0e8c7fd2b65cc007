"""A running Gaussian of the activations of each label, and samples from it (GAS, arXiv 2409.01251).

With S the weight so far, w the new one and d = S / (S + w):

    mu'  = d mu + (1 - d) m
    Sig' = d (Sig + (mu' - mu)(mu' - mu)^T) + (1 - d) (C + (mu' - m)(mu' - m)^T) + 1e-5 I

with m and C the mean and the covariance (divided by the count) of the new activations. Held in
float64: activations behind a ReLU have singular covariances, of which 1e-5 I is all that keeps
the factor real. Shapes: N activations of D numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sflsim.streams import Key, seed_of

if TYPE_CHECKING:
    from torch import Tensor

Covariance = Literal["auto", "full", "diagonal"]

FULL_UP_TO = 128
"""`auto` keeps full covariances of activations up to this many numbers per sample.

A factor costs D^3 / 3 multiply-accumulates per label and update: beyond, more than the training.
"""

RIDGE = 1e-5


@dataclass(frozen=True)
class Gaussian:
    """Statistics of one label: mean [D], covariance [D, D] or its diagonal [D], weight [] (S above).

    `factor` is what a standard normal vector is multiplied with; None until samples are drawn.
    """

    weight: Tensor
    mean: Tensor
    covariance: Tensor
    factor: Tensor | None = None

    def sample(self, normals_ND: Tensor) -> Tensor:
        """Return activations [N, D] for standard normal vectors; the factor must be there."""
        assert self.factor is not None
        if self.covariance.dim() == 1:
            return self.mean + normals_ND * self.factor
        return self.mean + normals_ND @ self.factor.mT

    def factored(self) -> Gaussian:
        """Return the same statistics with their factor, which is computed at most once.

        A covariance too large to be factored gives nan, so that the run is seen to diverge.
        """
        import torch

        if self.factor is not None:
            return self
        if self.covariance.dim() == 1:
            factor = self.covariance.sqrt()
        else:
            factor, failed = torch.linalg.cholesky_ex(self.covariance)
            factor = torch.where(failed > 0, torch.nan, factor)
        return Gaussian(self.weight, self.mean, self.covariance, factor)


def updated(old: Gaussian | None, rows_ND: Tensor, weight: float, full: bool) -> Gaussian:
    """Return a label's statistics after activations [N, D] (float64, N >= 1) that weigh `weight`.

    The two outer products come to one: d (1 - d) (mu - m)(mu - m)^T.
    """
    import torch

    count, size = rows_ND.shape
    if old is None:
        shape = (size, size) if full else (size,)
        old = Gaussian(rows_ND.new_zeros(()), rows_ND.new_zeros(size), rows_ND.new_zeros(shape))
    total = old.weight + weight
    kept = float(old.weight / total)
    mean = rows_ND.mean(dim=0)
    centred, apart = rows_ND - mean, old.mean - mean
    new, across = (1 - kept) / count, kept * (1 - kept)
    if full:
        covariance = torch.addmm(old.covariance, centred.mT, centred, beta=kept, alpha=new)
        covariance.addr_(apart, apart, alpha=across).diagonal().add_(RIDGE)
    else:
        spread = new * centred.square().sum(dim=0)
        covariance = kept * old.covariance + spread + across * apart.square() + RIDGE
    return Gaussian(total, old.mean.lerp(mean, 1 - kept), covariance)


class LabelStatistics:
    """The Gaussians of the labels seen so far; made from, and turned into, the tensors of a value."""

    def __init__(self, state: dict[str, Tensor], covariance: Covariance) -> None:
        entries: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            head, _, tail = name.partition(".")
            if head == "statistics":
                label, entry = tail.split(".")
                entries.setdefault(int(label), {})[entry] = tensor
        self.covariance = covariance
        self.of = {label: Gaussian(**tensors) for label, tensors in entries.items()}

    def update(self, z_ND: Tensor, y_N: Tensor, weight: float) -> None:
        """Take in activations [N, D] with labels [N]; a label that is absent keeps what it has."""
        import torch

        full = self.covariance == "full" or (self.covariance == "auto" and z_ND.shape[1] <= FULL_UP_TO)
        order = torch.argsort(y_N, stable=True)
        labels, counts = torch.unique(y_N, return_counts=True)
        pieces = z_ND[order].double().split(counts.tolist())
        for label, rows_ND in zip(labels.tolist(), pieces, strict=True):
            self.of[label] = updated(self.of.get(label), rows_ND, weight, full)

    def sample(self, missing: dict[int, int], key: Key) -> tuple[Tensor, Tensor]:
        """Return activations [N, D] and labels [N]: `missing[label]` of each label, in that order.

        The normal draws of a label have the key (*key, label) and are made on the CPU, in float32.
        """
        import torch

        samples, labels = [], []
        for label, count in missing.items():
            gaussian = self.of[label] = self.of[label].factored()
            draws = normals((*key, label), count, len(gaussian.mean)).to(gaussian.mean)
            samples.append(gaussian.sample(draws))
            labels += [label] * count
        return torch.cat(samples), torch.tensor(labels, device=samples[0].device)

    def state(self) -> dict[str, Tensor]:
        """Return the statistics as tensors named "statistics.<label>.<entry>"."""
        return {
            f"statistics.{label}.{entry}": tensor
            for label, gaussian in self.of.items()
            for entry, tensor in vars(gaussian).items()
            if tensor is not None
        }


def normals(key: Key, count: int, size: int) -> Tensor:
    """Return the standard normal draws [count, size] of a key."""
    import torch

    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed_of(key)))


def missing_labels(y_N: Tensor, classes: int, wanted: int) -> dict[int, int]:
    """Return how many samples each label lacks to come to `wanted`, for those that lack any."""
    counts: Sequence[int] = y_N.bincount(minlength=classes).tolist()
    return {label: wanted - count for label, count in enumerate(counts) if count < wanted}
