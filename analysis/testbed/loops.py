"""How a run goes on at the server: round after round, or contribution after contribution."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count

from sflsim.fleet.population import Fleet
from sflsim.learning.calls import Model
from testbed.parties import PATIENCE_S, Peer
from testbed.sides import Asynchronous, Learned, Sides, Synchronous


def learn(sides: Sides, peers: Mapping[int, Peer], fleet: Fleet, participants: int, number: int) -> Learned:
    """Run that number of rounds, or contributions until there have been as many updates."""
    if isinstance(sides, Asynchronous):
        return _contributions(sides, peers, fleet, participants, number)
    assert isinstance(sides, Synchronous)
    return _rounds(sides, peers, fleet, participants, number)


def _rounds(
    sides: Synchronous, peers: Mapping[int, Peer], fleet: Fleet, participants: int, number: int
) -> Learned:
    """Run rounds in which all participants are waited for."""
    model = sides.task.initial_model()
    learned = [(time.monotonic(), model)]
    with ThreadPoolExecutor(participants) as threads:
        for round in range(1, number + 1):
            asked = fleet.select(round, participants)
            sides.open(model, asked)
            together = threading.Barrier(len(asked), timeout=PATIENCE_S)
            serve = partial(_serve, sides, model=model, round=round, together=together)
            trained = list(threads.map(serve, [peers[index] for index in asked]))
            ended_s = time.monotonic()
            model = sides.close(model, trained, asked)
            learned.append((ended_s, model))
    return learned


def _serve(sides: Synchronous, peer: Peer, model: Model, round: int, together: threading.Barrier) -> Model:
    """Serve one participant of a round that begins for all of them at once."""
    peer.round = round
    together.wait()
    return sides.serve(peer, model)


def _contributions(
    sides: Asynchronous, peers: Mapping[int, Peer], fleet: Fleet, participants: int, updates: int
) -> Learned:
    """Let clients contribute, each replaced at once by an idle one, or by itself if all take part.

    After the last update the contributions under way are made, and count no more.
    """
    active, draws, replacing = set(fleet.select(0, participants)), count(1), threading.Lock()

    def replaced(index: int) -> int:
        if participants == len(peers):
            return index
        with replacing:
            active.remove(index)
            idle = [one for one in peers if one not in active and (sides.redraws or one != index)]
            (chosen,) = fleet.select(next(draws), 1, sorted(idle))
            active.add(chosen)
        return chosen

    def work(index: int) -> None:
        while len(sides.learned) <= updates:
            peers[index].round += 1
            sides.contribute(peers[index])
            index = replaced(index)

    with ThreadPoolExecutor(participants) as threads:
        for worker in [threads.submit(work, index) for index in sorted(active)]:
            worker.result()
    return sides.learned[: updates + 1]
