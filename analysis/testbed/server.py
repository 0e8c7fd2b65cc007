"""The process of the server: `python -m testbed.server ORDER RESULT`.

ORDER is a file with the scenario, the variant, the seed and the server's slowdown; the port it
listens on is its first line of output. Waits for all clients, runs the rounds, and writes to RESULT
what everybody did when, and what the model had learned after every round or update.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sflsim.learning.calls import evaluate
from sflsim.scenario.loading import parse_scenario
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Session
from testbed.exchanges import SIDES
from testbed.loops import learn
from testbed.pace import Record
from testbed.parties import PATIENCE_S, Peer, Server
from testbed.setting import Setting
from testbed.sides import Sides
from testbed.wire import Wire


def main() -> None:
    """Run the rounds of an order."""
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    scenario = parse_scenario(order["scenario"])
    setting = Setting.of(Session(scenario, Options(threads=1)), order["variant"], order["seed"])
    setting.warm_up()
    torch.set_num_threads(1)
    sides = SIDES[setting.config.algorithm](setting.task, setting.config)
    server = Server(1 if sides.one_server_model else scenario.server.slots, order["slowdown"], Record())
    peers = _clients(server, setting, order)
    result = run(sides, server, peers, setting, scenario)
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


def _clients(server: Server, setting: Setting, order: Mapping[str, Any]) -> dict[int, Peer]:
    """Listen until every client is there; their links are shaped from then on."""
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
    return peers


def run(
    sides: Sides, server: Server, peers: Mapping[int, Peer], setting: Setting, scenario: Scenario
) -> dict[str, Any]:
    """Wait until all are ready, run the rounds; return what everybody did when, and what was learned."""
    for index, peer in peers.items():
        peer.wire.receive("ready")
        _, peer.wire.bytes_per_s, peer.wire.latency_s = setting.link(index)
    participants = scenario.fleet.participants or scenario.fleet.clients
    assert scenario.stop.rounds is not None  # else refused by Setting.of
    learned = learn(sides, peers, setting.fleet, participants, scenario.stop.rounds)
    server.close()
    spans: list[Any] = list(server.record.spans)
    for peer in peers.values():
        peer.wire.send("end")
        spans += peer.wire.receive("spans").fields["spans"]
        peer.wire.close()
    accuracies = evaluate(setting.task, [{"model": model} for _, model in learned])
    evaluations = [
        (number, time_s, *found)
        for number, ((time_s, _), found) in enumerate(zip(learned, accuracies, strict=True))
    ]
    return {"spans": spans, "evaluations": evaluations}


if __name__ == "__main__":
    main()
