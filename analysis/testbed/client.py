"""The process of one client: `python -m testbed.client HOST PORT INDEX SLOWDOWN`.

Connects to the server, gets the scenario from it, makes the same task, takes part in the rounds it is
asked to, and hands in what it did when.
"""

from __future__ import annotations

import socket
import sys

from sflsim.scenario.loading import parse_scenario
from sflsim.session import Options, Session
from testbed.exchanges import SIDES
from testbed.pace import Record
from testbed.parties import Client
from testbed.setting import Setting
from testbed.wire import Wire


def main() -> None:
    """Take part from beginning to end."""
    host, port, index, slowdown = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    wire = Wire(socket.create_connection((host, port)))
    wire.send("hello", index=index)
    take_part(_client(wire, index, slowdown))


def take_part(me: Client) -> None:
    """Take part whenever a message begins a round for this client; hand in the spans at the end."""
    sides = SIDES[me.config.algorithm](me.task, me.config)
    me.wire.send("ready")
    while (message := me.wire.receive()).kind != "end":
        me.round = message.fields["round"]
        me.note(message)
        sides.client(me, message)
    me.wire.send("spans", spans=me.record.spans)
    me.wire.close()


def _client(wire: Wire, index: int, slowdown: float) -> Client:
    """Return the client that the server's scenario makes of this process, its code warmed up."""
    told = wire.receive("scenario").fields
    scenario = parse_scenario(told["scenario"])
    setting = Setting.of(Session(scenario, Options(threads=1)), told["variant"], told["seed"])
    device = setting.fleet.device(index)
    setting.warm_up()
    wire.bytes_per_s, _, wire.latency_s = setting.link(index)
    return Client(device.name, index, setting.task, setting.config, wire, slowdown, Record())


if __name__ == "__main__":
    main()
