"""What an algorithm is on the testbed: what its client does and what its server does.

They call the functions that the math in `sflsim.algorithms` is made of, on the same batches and directions,
each in the process where it belongs. Every process makes an instance: a client's holds what that client
keeps between its rounds, the server's what its clients share.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from sflsim.learning.calls import Model, average
from sflsim.learning.task import Task
from testbed.parties import Client, Peer
from testbed.wire import Message

Learned = list[tuple[float, Model]]
"""The initial model and that after every round or update, each with the time (s, monotonic) it holds from."""


class Sides(ABC):
    """Both sides of an algorithm; the server lets one thread serve each participant."""

    one_server_model: ClassVar[bool] = False
    """Whether there is one server model for all, whose steps never run in parallel, and no replicas."""

    def __init__(self, task: Task, config: Any) -> None:
        self.task = task
        self.config = config

    @abstractmethod
    def client(self, me: Client, first: Message) -> None:
        """Take part as the client, from the first message of a round to the last that it sends."""


class Synchronous(Sides):
    """An algorithm with rounds."""

    def open(self, model: Model, participants: Sequence[int]) -> None:
        """Prepare what the participants of a round share."""

    @abstractmethod
    def serve(self, peer: Peer, model: Model) -> Model:
        """Serve one participant of a round that starts from `model`; return what it has trained."""

    def close(self, model: Model, trained: Sequence[Model], participants: Sequence[int]) -> Model:
        """Return the next model: by default the mean of what was trained, or `eta_g` of the way to it."""
        args = {"model": model, "models": trained, "clients": participants}
        eta = getattr(self.config, "eta_g", 1.0)
        return average(self.task, [args], weighting=self.config.weighting, eta=eta)[0]


class Asynchronous(Sides):
    """An algorithm whose clients do not wait for each other; a client's round is its contribution."""

    redraws: ClassVar[bool] = True
    """Whether a client may replace itself while others are idle."""

    def __init__(self, task: Task, config: Any) -> None:
        super().__init__(task, config)
        self.sharing = threading.Lock()
        """Held by a thread that changes what all share."""
        self.learned: Learned = [(time.monotonic(), task.initial_model())]

    @abstractmethod
    def contribute(self, peer: Peer) -> None:
        """Serve one contribution of a client."""

    def publish(self, model: Model) -> None:
        """Make an update: the next global model."""
        self.learned.append((time.monotonic(), model))
