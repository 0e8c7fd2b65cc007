"""What an algorithm is on the testbed: what its client does and what its server does.

They call the functions that the math in `sflsim.algorithms` is made of, on the same batches and directions,
each in the process where it belongs. Every process makes an instance: a client's holds what that client
keeps between its rounds, the server's what its clients share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from sflsim.learning.calls import Model, average
from sflsim.learning.task import Task
from testbed.parties import Client, Peer
from testbed.wire import Message


class Sides(ABC):
    """Both sides of an algorithm with rounds; the server lets one thread serve each participant."""

    one_server_model: ClassVar[bool] = False
    """Whether there is one server model for all, whose steps never run in parallel, and no replicas."""

    def __init__(self, task: Task, config: Any) -> None:
        self.task = task
        self.config = config

    @abstractmethod
    def client(self, me: Client, first: Message) -> None:
        """Take part as the client, from the first message of a round to the last that it sends."""

    def open(self, model: Model, participants: Sequence[int]) -> None:  # noqa: B027 (few need it)
        """Prepare what the participants of a round share."""

    @abstractmethod
    def serve(self, peer: Peer, model: Model) -> Model:
        """Serve one participant of a round that starts from `model`; return what it has trained."""

    def close(self, model: Model, trained: Sequence[Model], participants: Sequence[int]) -> Model:
        """Return the next model: by default the mean of what was trained, or `eta_g` of the way to it."""
        args = {"model": model, "models": trained, "clients": participants}
        eta = getattr(self.config, "eta_g", 1.0)
        return average(self.task, [args], weighting=self.config.weighting, eta=eta)[0]
