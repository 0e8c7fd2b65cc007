"""MU-SplitFed's clock as a careful user of SimPy writes it for one experiment, without sflsim.

Processors, the directions of each radio and the server are resources; each message is a process of its
own. Every activity is noted as a tuple. The same activities as sflsim's spans, so that time per span
compares; no learning, no tables.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import simpy

Process = Generator[simpy.Event, Any, Any]
Span = tuple[str, str, float, float, int, str, float]
"""Who, what, start and end in s, round, for whom, bytes or FLOP."""


class Figures(NamedTuple):
    """A device: rates in FLOP/s and byte/s, one-way latency in s."""

    flop_per_s: float
    up: float
    down: float
    latency_s: float


class Exchange(NamedTuple):
    """What an exchange takes: bytes and FLOP."""

    model: float
    embedding: float
    scalar: float
    forward: float
    server_forward: float
    tau: int


class Device:
    """One device with its processor and radio."""

    def __init__(self, env: simpy.Environment, name: str, figures: Figures) -> None:
        self.name = name
        self.figures = figures
        self.processor = simpy.Resource(env)
        self.up = simpy.Resource(env)
        self.down = simpy.Resource(env)


class Experiment:
    """Rounds of MU-SplitFed over some devices; `spans` is what they did."""

    def __init__(
        self, figures: Sequence[Figures], exchange: Exchange, server_flop_per_s: float, participants: int
    ) -> None:
        self.env = simpy.Environment()
        self.devices = [Device(self.env, f"device-{i}", each) for i, each in enumerate(figures)]
        self.exchange = exchange
        self.server = simpy.Resource(self.env)
        self.server_flop_per_s = server_flop_per_s
        self.participants = participants
        self.random = random.Random(0)
        self.spans: list[Span] = []

    def run(self, rounds: int) -> None:
        """Run so many rounds."""
        self.env.run(self.env.process(self.rounds(rounds)))

    def rounds(self, rounds: int) -> Process:
        """Let the participants of each round work side by side, and wait for all of them."""
        for number in range(1, rounds + 1):
            chosen = self.random.sample(self.devices, self.participants)
            working = [self.env.process(self.participate(device, number)) for device in chosen]
            ended = yield simpy.AllOf(self.env, working)
            for device, end_s in zip(chosen, ended.values(), strict=True):
                if end_s < self.env.now:
                    self.spans.append((device.name, "wait", end_s, self.env.now, number, device.name, 0.0))

    def participate(self, device: Device, number: int) -> Process:
        """Pull, send three embeddings, get the scalar, push."""
        given, env = self.exchange, self.env
        yield env.process(
            self.send(device, device.down, device.figures.down, "downlink", given.model, number)
        )
        yield from self.delay(device, number)
        yield from self.compute(device, given.forward, number)
        first = self.send_up(device, given.embedding, number)
        steps = env.process(self.steps(device, first, number))
        messages = [first]
        for _ in range(2):
            yield from self.compute(device, given.forward, number)
            messages.append(self.send_up(device, given.embedding, number))
        yield simpy.AllOf(env, messages)
        yield steps
        yield from self.serve(device, 2 * given.server_forward, number)
        yield env.process(
            self.send(device, device.down, device.figures.down, "downlink", given.scalar, number)
        )
        yield self.send_up(device, given.model, number)
        return env.now

    def steps(self, device: Device, arrival: simpy.Event, number: int) -> Process:
        """Step the replica tau times once the first embedding is there."""
        yield arrival
        yield from self.serve(device, 2 * self.exchange.tau * self.exchange.server_forward, number)

    def delay(self, device: Device, number: int) -> Process:
        """Be held up, as a straggler is."""
        start_s = self.env.now
        yield self.env.timeout(self.random.expovariate(0.5))
        self.spans.append((device.name, "slowdown", start_s, self.env.now, number, device.name, 0.0))

    def compute(self, device: Device, flop: float, number: int) -> Process:
        """Compute on the device."""
        with device.processor.request() as request:
            yield request
            start_s = self.env.now
            yield self.env.timeout(flop / device.figures.flop_per_s)
            self.spans.append((device.name, "compute", start_s, self.env.now, number, device.name, flop))

    def send_up(self, device: Device, size: float, number: int) -> simpy.Process:
        """Send towards the server."""
        return self.env.process(self.send(device, device.up, device.figures.up, "uplink", size, number))

    def send(
        self, device: Device, radio: simpy.Resource, rate: float, activity: str, size: float, number: int
    ) -> Process:
        """Send one message: it takes the radio for its bytes, then it travels."""
        with radio.request() as request:
            yield request
            start_s = self.env.now
            yield self.env.timeout(size / rate)
            sent_s = self.env.now
        self.spans.append((device.name, activity, start_s, sent_s, number, device.name, size))
        yield self.env.timeout(device.figures.latency_s)
        self.spans.append((device.name, "latency", sent_s, self.env.now, number, device.name, 0.0))

    def serve(self, device: Device, flop: float, number: int) -> Process:
        """Wait for the server, and be served."""
        arrival_s = self.env.now
        with self.server.request() as request:
            yield request
            start_s = self.env.now
            if start_s > arrival_s:
                self.spans.append(("server", "queue", arrival_s, start_s, number, device.name, 0.0))
            yield self.env.timeout(flop / self.server_flop_per_s)
            self.spans.append(("server:0", "serve", start_s, self.env.now, number, device.name, flop))
