"""How a run goes on at the server: round after round."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sflsim.fleet.population import Fleet
from sflsim.learning.calls import Model
from testbed.parties import PATIENCE_S, Peer
from testbed.sides import Sides

Learned = list[tuple[float, Model]]
"""The initial model and that after every round, each with the time (s, monotonic) from which it held."""


def rounds(sides: Sides, peers: Mapping[int, Peer], fleet: Fleet, participants: int, count: int) -> Learned:
    """Run rounds in which all participants are waited for."""
    model = sides.task.initial_model()
    learned = [(time.monotonic(), model)]
    with ThreadPoolExecutor(participants) as threads:
        for round in range(1, count + 1):
            asked = fleet.select(round, participants)
            sides.open(model, asked)
            together = threading.Barrier(len(asked), timeout=PATIENCE_S)
            serve = partial(_serve, sides, model=model, round=round, together=together)
            trained = list(threads.map(serve, [peers[index] for index in asked]))
            ended_s = time.monotonic()
            model = sides.close(model, trained, asked)
            learned.append((ended_s, model))
    return learned


def _serve(sides: Sides, peer: Peer, model: Model, round: int, together: threading.Barrier) -> Model:
    """Serve one participant of a round that begins for all of them at once."""
    peer.round = round
    together.wait()
    return sides.serve(peer, model)
