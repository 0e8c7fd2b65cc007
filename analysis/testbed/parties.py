"""The two sides of an exchange on a real machine: a client with its device, and the server with its slots.

What they compute is slowed (`pace`), what they send is shaped (`wire`), and both note what they did
when, under the names that the clock uses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from sflsim.learning.calls import BatchName
from sflsim.learning.task import Task
from testbed.pace import Record, slowed
from testbed.wire import Message, Wire

Result = TypeVar("Result")
PATIENCE_S = 120.0
"""How long a client may take to come, and then to say anything."""


@dataclass
class Client:
    """One client in its own process: its wire to the server, its device and the batches it has seen."""

    name: str
    index: int
    task: Task
    config: Any
    wire: Wire
    slowdown: float
    record: Record
    round: int = 0
    batches: int = 0

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute as slowly as the device does."""
        started = time.monotonic()
        with slowed(self.slowdown):
            yield
        self.record.add(self.name, "compute", started, time.monotonic(), self.round, self.name)

    def next_name(self) -> tuple[int, int]:
        """Return the name of this client's next batch."""
        number = self.batches
        self.batches = number + 1
        return self.index, number

    def receive(self, kind: str) -> Message:
        """Wait for a message from the server."""
        message = self.wire.receive(kind)
        self.note(message)
        return message

    def note(self, message: Message) -> None:
        """Note when a message came."""
        self.record.add(self.name, "downlink", message.start_s, message.end_s, self.round, self.name)


class Server:
    """Slots that serve work first come, first served, each as slowly as the server's rate says."""

    def __init__(self, slots: int, slowdown: float, record: Record) -> None:
        self.slowdown = slowdown
        self.record = record
        self._slots = ThreadPoolExecutor(slots)

    def serve(self, work: Callable[[], Result], client: str, round: int) -> Future[Result]:
        """Hand in work for a client; its result is there when it is done."""
        arrived = time.monotonic()

        def served() -> Result:
            started = time.monotonic()
            self.record.add("server", "queue", arrived, started, round, client)
            with slowed(self.slowdown):
                result = work()
            self.record.add("server", "serve", started, time.monotonic(), round, client)
            return result

        return self._slots.submit(served)

    def close(self) -> None:
        """Drop the work that nobody waits for any more."""
        self._slots.shutdown(cancel_futures=True)


@dataclass
class Peer:
    """One client as the server sees it."""

    server: Server
    name: str
    index: int
    wire: Wire
    round: int = 0

    def send(self, kind: str, tensors: Mapping[str, Tensor]) -> None:
        """Send a message of this round."""
        self.wire.send(kind, tensors, round=self.round)

    def activation(self) -> tuple[Tensor, Tensor, BatchName]:
        """Wait for an activation [1, B, ...]; return it with its labels [1, B] and its batch's name."""
        came = self.receive("activation")
        client, number = came.fields["batch"]
        return came.tensors["z"], came.tensors["y"], (client, number)

    def receive(self, kind: str) -> Message:
        """Wait for a message of this client."""
        message = self.wire.receive(kind)
        self.server.record.add(self.name, "uplink", message.start_s, message.end_s, self.round, self.name)
        return message

    def serve(self, work: Callable[[], Result]) -> Future[Result]:
        """Hand in work for this client."""
        return self.server.serve(work, self.name, self.round)
