"""What a layer does in training and not in use: batch norm's own batch, dropout's mask.

The mode is said with each forward pass (`Training`, or None for use), never kept in a module:
`with_explicit_mode` puts layers in the place of torch's that read it while the pass runs. A mask is
drawn from a stream keyed by the layer's name in the whole network and by the batch, so it is the same
for any cut and any stacking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from sflsim.errors import refused
from sflsim.streams import Key, seed_of


@dataclass(frozen=True)
class Training:
    """A forward pass in training: the names of each participant's batches, joined in this order along B."""

    seed: int
    batches: Sequence[Sequence[Key]]
    sizes: Sequence[int] | None = None
    """Samples of each joined batch; None where they are equal."""


@dataclass
class _Pass:
    """A layer's pass under way: `participant` is an index, or a tensor under vmap."""

    training: Training
    participant: int | Tensor
    uses: Counter[str] = field(default_factory=Counter)


_pass: ContextVar[_Pass | None] = ContextVar("_pass", default=None)


@contextmanager
def in_training(training: Training | None, participant: int | Tensor) -> Iterator[None]:
    """Let the layers called meanwhile compute as `training` says, for one participant."""
    token = _pass.set(None if training is None else _Pass(training, participant))
    try:
        yield
    finally:
        _pass.reset(token)


class Dropout(nn.Module):
    """Dropout of numbers, or with `channels` of whole channels, its mask named by layer and batch."""

    def __init__(self, name: str, p: float, channels: bool) -> None:
        super().__init__()
        self.name = name
        self.p = p
        self.channels = channels

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.name}, p={self.p}, channels={self.channels}"

    def forward(self, x: Tensor) -> Tensor:
        """Return x [B, ...] with a share p of it zero and the rest scaled by 1 / (1 - p), in training."""
        now = _pass.get()
        if now is None or self.p == 0.0:
            return x
        if self.p == 1.0:
            return x * 0.0
        return x * self._mask(now, x) * (1.0 / (1.0 - self.p))

    def _mask(self, now: _Pass, x: Tensor) -> Tensor:
        """Return the mask of the participant that is computed."""
        shape = (*x.shape[:2], *(1 for _ in x.shape[2:])) if self.channels else tuple(x.shape)
        use = now.uses[self.name]
        now.uses[self.name] += 1
        if x.device.type == "meta":
            return torch.empty(shape, dtype=torch.bool, device="meta")
        if isinstance(now.participant, int):
            return self._kept(now.training, now.participant, shape, use).to(x.device)
        participants = range(len(now.training.batches))
        masks = torch.stack([self._kept(now.training, i, shape, use) for i in participants])
        return masks.to(x.device).index_select(0, now.participant[None])[0]

    def _kept(self, training: Training, participant: int, shape: tuple[int, ...], use: int) -> Tensor:
        """Return one participant's mask; a layer's second use in a pass has one of its own."""
        names = training.batches[participant]
        sizes = training.sizes or [shape[0] // len(names)] * len(names)
        assert sum(sizes) == shape[0], "the samples of the joined batches"
        again = (use,) if use else ()
        keys = [(training.seed, "dropout", self.name, *name, *again) for name in names]
        draws = [
            torch.rand(size, *shape[1:], generator=torch.Generator().manual_seed(seed_of(key)))
            for key, size in zip(keys, sizes, strict=True)
        ]
        return torch.cat(draws) >= self.p


class BatchNorm(nn.Module):
    """Batch norm by the batch in training, which moves the running statistics; in use by these."""

    def __init__(self, name: str, like: _BatchNorm) -> None:
        super().__init__()
        if like.track_running_stats and like.momentum is None:
            found = f"{name}: batch norm with momentum None, a mean over all batches so far"
            remedy = (
                "running statistics are averaged between clients that have seen different numbers of batches"
            )
            raise refused("workload.model", found, "batch norm with a fixed momentum", remedy)
        self.name = name
        self.eps = like.eps
        self.momentum = like.momentum or 0.0
        self.weight, self.bias = like.weight, like.bias
        self.register_buffer("running_mean", like.running_mean)
        self.register_buffer("running_var", like.running_var)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.name}, eps={self.eps}, momentum={self.momentum}"

    def forward(self, x: Tensor) -> Tensor:
        """Return x [B, F, ...] normalised.

        Raises:
            ScenarioError: one number per channel, of which no variance can be had.
        """
        mean, var, now = self.running_mean, self.running_var, _pass.get()
        if now is None and mean is not None:
            return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)  # type: ignore[arg-type]
        count = x.numel() // x.shape[1]
        if count == 1:
            found = f"a batch of 1, which leaves batch norm {self.name} one number per channel"
            raise refused("workload.batch_size", found, "2 or more")
        if now is not None and isinstance(now.participant, int):
            return F.batch_norm(x, mean, var, self.weight, self.bias, True, self.momentum, self.eps)  # type: ignore[arg-type]
        if now is not None and mean is not None:
            self._move(x.detach(), count)
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _move(self, x: Tensor, count: int) -> None:
        """Move the running statistics towards those of the batch: under vmap torch does not."""
        assert isinstance(self.running_mean, Tensor)
        assert isinstance(self.running_var, Tensor)
        dims = [dim for dim in range(x.dim()) if dim != 1]
        var, mean = torch.var_mean(x, dims, correction=1 if count > 1 else 0)
        self.running_mean.mul_(1.0 - self.momentum).add_(self.momentum * mean)
        self.running_var.mul_(1.0 - self.momentum).add_(self.momentum * var)


def with_explicit_mode(name: str, module: nn.Module) -> nn.Module:
    """Return the module for use, torch's batch norm and dropout in it replaced; it is changed in place.

    `name` is its name in the whole network. Parameters and running statistics keep their names.

    Raises:
        ScenarioError: a layer that depends on the mode in a way that is not known here.
    """
    module.eval()
    if isinstance(module, Dropout | BatchNorm):
        return module
    own = _replacement(name, module)
    if own is not module:
        return own
    for child_name, child in module._modules.items():
        if child is not None:
            module._modules[child_name] = with_explicit_mode(f"{name}.{child_name}", child)
    return module


def _replacement(name: str, module: nn.Module) -> nn.Module:
    """Return what stands in a layer's place; itself for most."""
    if isinstance(module, nn.SyncBatchNorm | nn.AlphaDropout | nn.FeatureAlphaDropout):
        found = f"{name}: {type(module).__name__}"
        raise refused("workload.model", found, "BatchNorm1d to 3d, Dropout, Dropout1d to 3d")
    if not knows_mode(module):
        return module
    if isinstance(module, _BatchNorm):
        return BatchNorm(name, module)
    assert isinstance(module, _DropoutNd)
    return Dropout(name, module.p, not isinstance(module, nn.Dropout))


def knows_mode(module: nn.Module) -> bool:
    """Tell whether a module is batch norm or dropout as torch wrote it, or what stands in its place."""
    if isinstance(module, Dropout | BatchNorm):
        return True
    kinds = (_BatchNorm, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def has_modes(module: nn.Module) -> bool:
    """Tell whether a module computes otherwise in training than in use."""
    return any(isinstance(one, Dropout | BatchNorm) for one in module.modules())


def statistics(layer: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the running statistics of a layer, by name; other buffers are constants."""
    return [
        (f"{path}.{name}" if path else name, buffer)
        for path, module in layer.named_modules()
        if isinstance(module, BatchNorm)
        for name, buffer in module.named_buffers(recurse=False)
    ]
