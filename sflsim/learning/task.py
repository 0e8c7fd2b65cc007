"""One learning task: data partitioned among clients, a network cut in two, and the verbs of the math.

The functions of the algorithms' math take a `Task` first and see parameters, batches and keys
through it. Shapes: C participants (computed at once), B samples, d parameters, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import copy
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sflsim.errors import refused
from sflsim.foreign import foreign
from sflsim.learning import received
from sflsim.learning.calls import BatchName, Model
from sflsim.learning.compression import Compression
from sflsim.learning.data.base import Data
from sflsim.learning.graph.fingerprint import of_behaviour, of_code, of_machine, of_network, of_tensors
from sflsim.learning.graph.lineage import Args
from sflsim.learning.models.base import is_users, kind_of
from sflsim.learning.network.adapters import adapted
from sflsim.learning.network.as_written import check_as_written
from sflsim.learning.network.initial import initialised
from sflsim.learning.network.modes import Training
from sflsim.learning.network.observation import SAMPLES, gradients_by
from sflsim.learning.network.split import Part, auxiliary_head, cut_blocks
from sflsim.learning.zeroth_order import Direction, Directions
from sflsim.streams import generator, seed_of

TRAINED = "a model that can be trained on the batches of this workload"
STACKED_NUMBERS = 1 << 24
"""On a CPU, participants are stacked while their parameters together stay below this many numbers."""
STACKED_PIXELS = 64
"""On a CPU, convolutions are stacked for images up to this size: 1.9 times as fast at 8x8 (small CNN,
10 participants of 32), as fast or slower from 16x16 on (benchmarks/training.py)."""


class Task:
    """A network, its cut and its data, under one scenario seed.

    `client` and `server` are the two parts; `shards` the sample indices of each client; `batch_sizes` one
    number, or one for each client.
    """

    def __init__(
        self,
        data: Data,
        blocks: Sequence[tuple[str, nn.Module]],
        cut: int,
        shards: Sequence[Tensor],
        batch_sizes: int | Sequence[int],
        seed: int,
        device: torch.device,
        identity: str,
    ) -> None:
        self.data = data
        self.blocks = [(name, block.to(device)) for name, block in blocks]
        self.cut = cut
        self.client, self.server = cut_blocks(blocks, cut)
        self.whole = Part(blocks)
        self._auxiliary: Part | None = None
        self.shards = shards
        self.batch_sizes = batch_sizes
        self.seed = seed
        self.device = device
        self.compression = Compression()
        self._permutations: dict[int, tuple[int, npt.NDArray[np.int64]]] = {}
        facts = (
            *(identity, cut, batch_sizes, seed, data.classes, data.fingerprint),
            *(of_tensors(shards), of_network(self.blocks), of_machine(device)),
            of_behaviour(self.whole, data.inputs(data.test_x[:2])),
        )
        self.key = _key(*facts)

    is_loaded = True

    def loaded(self) -> Task:
        """Return the task itself; one of which the key alone is known is built by it."""
        return self

    def at(self, cut: int) -> Task:
        """Return the same task with the network cut elsewhere."""
        other = copy(self)
        other.cut = cut
        other.client, other.server = cut_blocks(self.blocks, cut)
        other._auxiliary = None
        return other

    def compressing(self, compression: Compression | None) -> Task:
        """Return the same task with messages compressed; itself where none are."""
        if compression is None or not compression.given:
            return self
        other = copy(self)
        other.compression = compression
        codecs = [compression.codec(kind) for kind in compression.given]
        other.key = _key(self.key, repr(compression), of_code(*codecs))
        return other

    @property
    def auxiliary(self) -> Part:
        """Return a linear head on the client part's activation, its weights under a key of their own."""
        if self._auxiliary is None:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.manual_seed(seed_of((self.seed, "weights", "auxiliary")))
                x = self.data.inputs(self.data.test_x[:1]).cpu()
                z = self.activation(self.client.initial()[None], x[None])
                self._auxiliary = auxiliary_head(tuple(z.shape[2:]), self.data.classes)
        return self._auxiliary

    @property
    def participants_at_once(self) -> int:
        """How many participants are computed stacked: a fixed rule of the model and the device.

        On a CPU stacking pays where it saves calls, in linear layers and in convolutions of small
        images, and not in convolutions of larger ones; on a GPU it nearly always pays.
        """
        small = prod(self.data.sample_shape[1:]) <= STACKED_PIXELS
        stacked = (nn.Linear, nn.Conv2d) if small else (nn.Linear,)
        if self.device.type == "cpu" and not (_only(stacked, self.client) and _only(stacked, self.server)):
            return 1
        return max(1, STACKED_NUMBERS // max(1, self.client.size + self.server.size))

    # Data.

    def samples(self, client: int) -> int:
        """Return the number of training samples that a client holds."""
        return len(self.shards[client])

    def batch_size(self, client: int) -> int:
        """Return the number of samples of a client's batches."""
        return self.batch_sizes if isinstance(self.batch_sizes, int) else self.batch_sizes[client]

    def alike(self, arguments: Sequence[Args]) -> list[list[int]]:
        """Return the places of the participants that may be computed together: with batches of one size."""
        if isinstance(self.batch_sizes, int):
            return [list(range(len(arguments)))]
        groups: dict[int, list[int]] = {}
        for place, args in enumerate(arguments):
            name = args.get("batch") or next(iter(args.get("batches", ())), None)
            groups.setdefault(self.batch_size(name[0]) if name else 0, []).append(place)
        return list(groups.values())

    def batch(self, names: Sequence[BatchName]) -> tuple[Tensor, Tensor]:
        """Return inputs [C, B, ...] and labels [C, B] of the batches named (client, number), of one size."""
        indices = np.concatenate([self.indices(client, number) for client, number in names])
        flat = torch.from_numpy(indices).to(self.device)
        shape = (len(names), self.batch_size(names[0][0]))
        keys = [(self.seed, "augment", *name) for name in names]
        x = self.data.training_inputs(flat, keys)
        return x.unflatten(0, shape), self.data.train_y[flat].unflatten(0, shape)

    def indices(self, client: int, number: int) -> npt.NDArray[np.int64]:
        """Return the samples of a client's batch: its shard, shuffled anew in each epoch, end to end."""
        size, missing = len(self.shards[client]), self.batch_size(client)
        first = number * missing
        taken: list[npt.NDArray[np.int64]] = []
        while missing:
            epoch, offset = divmod(first, size)
            piece = self._shuffled(client, epoch)[offset : offset + missing]
            taken.append(piece)
            first, missing = first + len(piece), missing - len(piece)
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    def _shuffled(self, client: int, epoch: int) -> npt.NDArray[np.int64]:
        known = self._permutations.get(client)
        if known is None or known[0] != epoch:
            order = generator(self.seed, "batches", client, epoch).permutation(len(self.shards[client]))
            known = (epoch, self.shards[client].numpy()[order])
            self._permutations[client] = known
        return known[1]

    # Math.

    def directions(self, keys: Sequence[tuple[str | int, ...]], part: Part, kind: Direction) -> Directions:
        """Return random directions in the parameters of `part`, one for each key."""
        keys = [(self.seed, *key) for key in keys]
        return Directions(keys, part.dimension, kind, self.device, part.spans)

    def training(self, names: Sequence[tuple[str | int, ...]]) -> Training:
        """Return the mode of a pass in training on these batches, one per participant."""
        return Training(self.seed, [[tuple(name)] for name in names])

    def training_joined(self, names: Sequence[BatchName]) -> Training:
        """Return the mode of a pass in training on these batches, joined as one participant's."""
        sizes = [self.batch_size(client) for client, _ in names]
        return Training(self.seed, [[tuple(name) for name in names]], sizes)

    def activation(self, x_c: Tensor, x: Tensor) -> Tensor:
        """Return the activations [C, B, ...] of client parts [C, n_c] in use on inputs [C, B, ...]."""
        return self.client.forward(self.client.views(x_c), x)

    def received(self, z: Tensor, names: Sequence[BatchName], shares: Tensor | None = None) -> Tensor:
        """Return activations [C, B, ...] of the named batches as they arrive at the server.

        The gradient by the result comes back as it arrives at the clients. `shares` [C] are the weights of
        the participants in the loss, if it is not a sum.
        """
        if self.compression.activation is None and self.compression.gradient is None:
            return z
        keys = [(self.seed, "compression", *name) for name in names]
        crossing = received.Crossing(self.compression, keys, self.client.has_mask)
        return received.activations(z, crossing, shares)

    def received_model(self, model: Model, parts: Sequence[str], *name: str | int) -> Model:
        """Return a model whose `parts` (client, server, auxiliary) have crossed the link as one message."""
        codec = self.compression.codec("model")
        if codec is None:
            return model
        whole = [getattr(self, part) for part in parts]
        flat = [
            model[part] if part in model else own.initial().to(self.device)
            for part, own in zip(parts, whole, strict=True)
        ]
        key = (self.seed, "compression", *name)
        arrived = received.model(codec, list(zip(whole, flat, strict=True)), key)
        return {**model, **dict(zip(parts, arrived, strict=True))}

    def server_loss(self, x_s: Tensor, z: Tensor, y: Tensor) -> Tensor:
        """Return the losses [C] of server parts [C, n_s] in use for activations z and labels y."""
        return self.loss(self.server.forward(self.server.views(x_s), z), y)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross entropy [C] of logits [C, B, K] against labels [C, B]."""
        each = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        return each.view(y.shape).mean(dim=1)

    def initial_model(self) -> Model:
        """Return the untrained model, the same for every cut."""
        return {
            "client": self.client.initial().to(self.device),
            "server": self.server.initial().to(self.device),
        }


def _key(*facts: object) -> str:
    return hashlib.blake2b("|".join(map(str, facts)).encode(), digest_size=16).hexdigest()


def _only(kinds: tuple[type[nn.Module], ...], part: Part) -> bool:
    """Return whether every layer with parameters is of these kinds."""
    leaves = [module for _, block in part.blocks for module in block.modules()]
    return all(
        isinstance(leaf, kinds) for leaf in leaves if next(leaf.parameters(recurse=False), None) is not None
    )


def build_blocks(
    model: Any, sample_shape: tuple[int, ...], classes: int, seed: int, cut: int = 1
) -> list[tuple[str, nn.Module]]:
    """Return the blocks of a model with weights drawn under the key (seed, "weights").

    Adapters are put on last, so that the weights under them are those of the plain model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of((seed, "weights")))
        return built(model, sample_shape, classes, cut)


def probe(model: Any, sample_shape: tuple[int, ...], samples: int) -> Tensor:
    """Return a few samples to try a network on: numbers, or token ids and masks."""
    source = torch.Generator().manual_seed(0)
    words = getattr(model, "vocabulary", None)
    if words is None:
        return torch.randn(samples, *sample_shape, generator=source)
    ids = torch.randint(0, words, (samples, *sample_shape), generator=source)
    ids[:, 1] = 1
    return ids


def built(model: Any, sample_shape: tuple[int, ...], classes: int, cut: int) -> list[tuple[str, nn.Module]]:
    """Return the blocks of a model with its given weights, under its adapters if it has any.

    Raises:
        ScenarioError: it cannot be built, whatever its code or its library says.
    """
    name, allowed = kind_of(model), f"a model that can be built for samples {sample_shape}"
    with foreign("workload.model", name, allowed, own=model):
        blocks: list[tuple[str, nn.Module]] = initialised(model.build(sample_shape, classes), model)
        if is_users(model) and not torch.empty(0).is_meta:
            check_as_written(blocks, probe(model, sample_shape, SAMPLES))
        adapters = getattr(model, "adapters", None)
        if adapters is None:
            return blocks
        return adapted(blocks, adapters, cut, getattr(model, "trained_head", ""))


def check_trains(model: Any, blocks: Sequence[tuple[str, nn.Module]], x: Tensor, classes: int) -> None:
    """Try one pass in training, forward and backward, on samples x [B, ...]; the blocks stay as they are.

    Raises:
        ScenarioError: it fails, or gives no [B, K] numbers.
    """
    with foreign("workload.model", f"a batch of {len(x)} through {kind_of(model)}", TRAINED, own=model):
        part = Part(blocks)
        leaves = part.leaves(part.initial()[None].clone())
        out = part.apply(leaves, x, Training(0, [[()]]))
        if tuple(out.shape) == (len(x), classes):
            gradients_by(out, {str(place): one for place, one in enumerate(part.parameters(leaves))})
            return
    found = f"an output of shape {tuple(out.shape)} for {len(x)} samples"
    raise refused("workload.model", found, f"({len(x)}, {classes}): a number for each class")
