"""flwr-datasets' partitioners by name (Flower's) (extra `data`).

Each partitioner sees the samples in an order drawn under the scenario seed, and a seed of its own, so
that the same scenario gives the same shares. Unlike `iid` and `dirichlet`, some leave samples over.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sflsim.errors import refused
from sflsim.fields import Alpha
from sflsim.learning.data.partition import Indices
from sflsim.learning.data.source import missing_extra
from sflsim.mistakes import wrong_value
from sflsim.streams import generator, seed_of

Values = npt.NDArray[Any]
PATH = "workload.partition"


class FlowerPartition(BaseModel):
    """Base: `partitioner` names Flower's class, `parameters` what it is given for so many clients."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    partitioner: ClassVar[str]
    takes_seed: ClassVar[bool] = True

    def parameters(self, samples: int, clients: int) -> dict[str, Any]:
        """Return the arguments of Flower's partitioner, but for its seed."""
        return {"num_partitions": clients}

    def partition(self, values: Values, clients: int, seed: int) -> list[Indices]:
        """Return the sample indices of every client: disjoint and none empty, by `values` [N].

        Raises:
            ScenarioError: it cannot be done; the words are Flower's.
            SflsimError: flwr-datasets is not installed.
        """
        order = generator(seed, PATH, self.partitioner).permutation(len(values))
        arguments = self.parameters(len(values), clients)
        if self.takes_seed:
            arguments["seed"] = seed_of((seed, PATH, self.partitioner, "draws")) % 2**32
        shares = self._shares(values[order], arguments, clients)
        smallest = min(map(len, shares))
        if smallest == 0:
            found = f"a client without samples among {clients}"
            remedy = "give fewer clients, or other parameters"
            raise refused(PATH, found, "one sample or more for each", remedy)
        return [np.sort(order[share]) for share in shares]

    def _shares(self, values: Values, arguments: dict[str, Any], clients: int) -> list[Indices]:
        """Return places in `values` for every client, as Flower's partitioner assigns them."""
        partitioners, datasets = _flower()
        try:
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # it draws a bar there
                warnings.simplefilter("ignore")
                partitioner = getattr(partitioners, self.partitioner)(**arguments)
                partitioner.dataset = _table(datasets, values)
                _fits(partitioner.num_partitions, clients)
                shares = [partitioner.load_partition(client) for client in range(clients)]
        except (ValueError, ZeroDivisionError, AssertionError) as error:
            found = f"{clients} clients and {len(values)} samples"
            reason = " ".join(str(error).split()) or type(error).__name__
            raise refused(PATH, found, f"what Flower's {self.partitioner} can partition", reason) from error
        return [np.asarray(share["place"][:], np.int64) for share in shares]


def _table(datasets: Any, values: Values) -> Any:
    """Return a table of the values and their places; the library would go through a column row by row."""

    class Table(datasets.Dataset):  # type: ignore[misc]
        def __getitem__(self, key: Any) -> Any:
            return values if key == "value" else super().__getitem__(key)

    rows = datasets.Dataset.from_dict({"value": values, "place": np.arange(len(values))})
    return Table(rows.with_format("numpy").data).with_format("numpy")


def _fits(parts: int, clients: int) -> None:
    if parts != clients:
        raise refused("fleet.clients", str(clients), f"{parts}, as the partition has so many parts")


def _flower() -> tuple[Any, Any]:
    """Return Flower's partitioners and the library that they are made for."""
    try:
        import datasets
        from flwr_datasets import partitioner
    except ImportError as error:
        raise missing_extra("the library flwr-datasets, which this partition needs,", "data") from error
    return partitioner, datasets


class ByLabel(FlowerPartition):
    """Base of those that look at the labels."""

    def parameters(self, samples: int, clients: int) -> dict[str, Any]:
        """Return the arguments that all of them take."""
        return {"num_partitions": clients, "partition_by": "value", "shuffle": False}


class BalancedDirichlet(ByLabel):
    """Dirichlet shares of each class, but a client with its fair number gets no more (arXiv 1905.12022)."""

    kind: Literal["balanced-dirichlet"] = "balanced-dirichlet"
    alpha: Alpha
    min_samples: int = Field(default=1, ge=1)

    partitioner: ClassVar[str] = "DirichletPartitioner"

    def parameters(self, samples: int, clients: int) -> dict[str, Any]:
        """Return the arguments of Flower's partitioner."""
        own = {"alpha": self.alpha, "min_partition_size": self.min_samples, "self_balancing": True}
        return super().parameters(samples, clients) | own


class InnerDirichlet(ByLabel):
    """Every client draws from Dirichlet shares of the classes of its own, to a given size (FedDyn)."""

    kind: Literal["inner-dirichlet"] = "inner-dirichlet"
    alpha: Alpha
    sizes: tuple[int, ...] | None = Field(
        default=None, description="samples of each client; alike by default"
    )

    partitioner: ClassVar[str] = "InnerDirichletPartitioner"

    def parameters(self, samples: int, clients: int) -> dict[str, Any]:
        """Return the arguments of Flower's partitioner."""
        sizes = list(self.sizes or (samples // clients,) * clients)
        _check_sizes(sizes, samples, clients)
        return {"partition_sizes": sizes, "partition_by": "value", "alpha": self.alpha, "shuffle": False}


class Shards(ByLabel):
    """Sorted by label and cut into shards; every client gets a few (McMahan et al., 2017)."""

    kind: Literal["shards"] = "shards"
    shards_per_client: int | None = Field(default=None, ge=1, description="2 where no shard_size is given")
    shard_size: int | None = Field(default=None, ge=1, description="samples; all the data by default")
    keep_incomplete: bool = Field(default=False, description="assign the last shard even if it is smaller")

    partitioner: ClassVar[str] = "ShardPartitioner"

    def parameters(self, samples: int, clients: int) -> dict[str, Any]:
        """Return the arguments of Flower's partitioner."""
        each = self.shards_per_client or (2 if self.shard_size is None else None)
        if each is not None and clients * each > samples:
            raise refused(PATH, f"{clients * each} shards", f"at most {samples}, one for each sample")
        own = {"num_shards_per_partition": each, "shard_size": self.shard_size}
        return super().parameters(samples, clients) | own | {"keep_incomplete_shard": self.keep_incomplete}


class Pathological(ByLabel):
    """Every client holds a few classes, and shares each with the other clients that hold it."""

    kind: Literal["pathological"] = "pathological"
    classes_per_client: int = Field(ge=1)
    assignment: Literal["random", "deterministic", "first-deterministic"] = Field(
        default="first-deterministic", description="of classes; the default gives every class to someone"
    )

    partitioner: ClassVar[str] = "PathologicalPartitioner"

    def parameters(self, samples: int, clients: int) -> dict[str, Any]:
        """Return the arguments of Flower's partitioner."""
        own = {"num_classes_per_partition": self.classes_per_client, "class_assignment_mode": self.assignment}
        return super().parameters(samples, clients) | own


class NaturalId(FlowerPartition):
    """A client for each value of a column, e.g. the writer of a digit or the user of a service."""

    kind: Literal["natural-id"] = "natural-id"
    by: str = Field(description="column of the data set")
    others: Literal["refuse", "leave-out"] = Field(
        default="refuse", description="'leave-out' draws as many values as there are clients"
    )

    partitioner: ClassVar[str] = "NaturalIdPartitioner"
    takes_seed: ClassVar[bool] = False

    def parameters(self, samples: int, clients: int) -> dict[str, Any]:
        """Return the arguments of Flower's partitioner."""
        return {"partition_by": "value"}

    def partition(self, values: Values, clients: int, seed: int) -> list[Indices]:
        """Return the sample indices of every client; clients stand in the order of their values."""
        known = np.unique(values)
        if len(known) < clients or (len(known) > clients and self.others == "refuse"):
            most = "at most " if self.others == "leave-out" else ""
            allowed = f"{most}{len(known)}, the values of {self.by!r}"
            remedy = "" if len(known) < clients else "or set 'others: leave-out' to draw some of them"
            raise refused("fleet.clients", str(clients), allowed, remedy)
        chosen = np.sort(generator(seed, PATH, "natural-id").permutation(len(known))[:clients])
        places = np.flatnonzero(np.isin(values, known[chosen]))
        return [places[share] for share in super().partition(values[places], clients, seed)]


class Sizes(FlowerPartition):
    """So many samples for each client, drawn at random."""

    kind: Literal["sizes"] = "sizes"
    sizes: tuple[int, ...] = Field(min_length=1, description="samples of each client")

    partitioner: ClassVar[str] = "SizePartitioner"
    takes_seed: ClassVar[bool] = False

    @model_validator(mode="after")
    def _some_each(self) -> Sizes:
        if min(self.sizes) < 1:
            raise wrong_value(f"a size of {min(self.sizes)}", "1 or more")
        return self

    def parameters(self, samples: int, clients: int) -> dict[str, Any]:
        """Return the arguments of Flower's partitioner."""
        _check_sizes(self.sizes, samples, clients)
        return {"partition_sizes": list(self.sizes)}


class Linear(FlowerPartition):
    """Samples at random, in numbers that grow with the client's: 1, 2, 3, ... shares."""

    kind: Literal["linear-sizes"] = "linear-sizes"
    partitioner: ClassVar[str] = "LinearPartitioner"
    takes_seed: ClassVar[bool] = False


class Square(FlowerPartition):
    """Samples at random, in numbers that grow with the square: 1, 4, 9, ... shares."""

    kind: Literal["square-sizes"] = "square-sizes"
    partitioner: ClassVar[str] = "SquarePartitioner"
    takes_seed: ClassVar[bool] = False


class Exponential(FlowerPartition):
    """Samples at random, in numbers that grow by e from client to client: for few clients only."""

    kind: Literal["exponential-sizes"] = "exponential-sizes"
    partitioner: ClassVar[str] = "ExponentialPartitioner"
    takes_seed: ClassVar[bool] = False


def _check_sizes(sizes: Any, samples: int, clients: int) -> None:
    if len(sizes) != clients:
        raise refused(f"{PATH}.sizes", f"{len(sizes)} sizes", f"{clients}, one for each client")
    if sum(sizes) > samples or min(sizes) < 1:
        found = f"{sum(sizes)} samples" if min(sizes) > 0 else "a client without samples"
        raise refused(f"{PATH}.sizes", found, f"at most {samples}, one or more each")
