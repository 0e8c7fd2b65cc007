"""The process of the server: `python -m testbed.server ORDER RESULT`.

ORDER is a file with the scenario, the variant, the seed and the server's slowdown; the port it
listens on is its first line of output. Waits for all clients, runs the rounds, and writes to RESULT
what everybody did when, and what the model had learned after every round.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sflsim.learning.calls import Model, average, evaluate
from sflsim.learning.profiling.calibration import measure
from sflsim.learning.profiling.places import of_workload
from sflsim.scenario.loading import parse_scenario
from sflsim.session import Options, Session
from testbed.exchanges import SIDES
from testbed.pace import Record
from testbed.parties import Peer, Server
from testbed.setting import Setting
from testbed.wire import Wire

PATIENCE_S = 120.0
"""How long a client may take to come, and then to say anything."""


def main() -> None:
    """Run the rounds of an order."""
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    scenario = parse_scenario(order["scenario"])
    setting = Setting.of(Session(scenario, Options(threads=1)), order["variant"], order["seed"])
    workload = scenario.workload
    assert isinstance(workload.batch_size, int)  # else refused by Setting.of
    parts = of_workload(workload, workload.batch_size, [setting.task.cut], blocks=False)
    measure(parts, repeat=1, rest_s=0.0)
    server = Server(setting.task, setting.config, scenario.server.slots, order["slowdown"], Record())
    peers = _clients(server, setting, order)
    assert scenario.stop.rounds is not None
    participants = scenario.fleet.participants or scenario.fleet.clients
    learned = _rounds(server, peers, setting, participants, scenario.stop.rounds)
    spans: list[Any] = list(server.record.spans)
    for peer in peers.values():
        peer.wire.send("end")
        spans += peer.wire.receive("spans").fields["spans"]
        peer.wire.close()
    result = {"spans": spans, "evaluations": learned}
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


def _clients(server: Server, setting: Setting, order: Mapping[str, Any]) -> dict[int, Peer]:
    """Listen until every client is there and ready; their links are shaped from then on."""
    peers: dict[int, Peer] = {}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE_S)
        print(listening.getsockname()[1], flush=True)
        while len(peers) < len(setting.fleet):
            connection, _ = listening.accept()
            connection.settimeout(PATIENCE_S)
            wire = Wire(connection)
            index = int(wire.receive("hello").fields["index"])
            peers[index] = Peer(server, setting.fleet.device(index).name, index, wire)
            wire.send("scenario", **{name: order[name] for name in ("scenario", "variant", "seed")})
    for index, peer in peers.items():
        peer.wire.receive("ready")
        _, peer.wire.bytes_per_s, peer.wire.latency_s = setting.link(index)
    return peers


def _rounds(
    server: Server, peers: Mapping[int, Peer], setting: Setting, participants: int, rounds: int
) -> list[tuple[int, float, float]]:
    """Run all rounds; return (round, accuracy, loss) at the beginning and after each."""
    torch.set_num_threads(1)
    task, config = setting.task, setting.config
    model = task.initial_model()
    learned = [(0, *evaluate(task, [{"model": model}])[0])]
    with ThreadPoolExecutor(participants) as threads:
        for round in range(1, rounds + 1):
            asked = [peers[index] for index in setting.fleet.select(round, participants)]
            take_part = partial(_take_part, model=model, round=round, together=threading.Barrier(len(asked)))
            trained = list(threads.map(take_part, asked))
            args = {"model": model, "models": trained, "clients": [peer.index for peer in asked]}
            eta = getattr(config, "eta_g", 1.0)
            model = average(task, [args], weighting=config.weighting, eta=eta)[0]
            learned.append((round, *evaluate(task, [{"model": model}])[0]))
    return learned


def _take_part(peer: Peer, model: Model, round: int, together: threading.Barrier) -> Model:
    """Let one client take part in a round that begins for all of them at once."""
    peer.round = round
    together.wait()
    return SIDES[peer.server.config.algorithm].server(peer, model)


if __name__ == "__main__":
    main()
