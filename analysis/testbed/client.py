"""The process of one client: `python -m testbed.client HOST PORT INDEX SLOWDOWN`.

Connects to the server, gets the scenario from it, makes the same task, takes part in the rounds it is
asked to, and hands in what it did when.
"""

from __future__ import annotations

import socket
import sys

from sflsim.learning.profiling.calibration import measure
from sflsim.learning.profiling.places import of_workload
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
    me = _client(wire, index, slowdown)
    wire.send("ready")
    while (message := wire.receive()).kind == "model":
        me.round += 1
        me.record.add(me.name, "downlink", message.start_s, message.end_s, me.round, me.name)
        SIDES[me.config.algorithm].client(me, message.tensors)
    wire.send("spans", spans=me.record.spans)
    wire.close()


def _client(wire: Wire, index: int, slowdown: float) -> Client:
    """Return the client that the server's scenario makes of this process, its code warmed up."""
    told = wire.receive("scenario").fields
    scenario = parse_scenario(told["scenario"])
    setting = Setting.of(Session(scenario, Options(threads=1)), told["variant"], told["seed"])
    device = setting.fleet.device(index)
    workload = scenario.workload
    assert isinstance(workload.batch_size, int)  # else refused by Setting.of
    parts = of_workload(workload, workload.batch_size, [setting.task.cut], blocks=False)
    measure(parts, repeat=1, rest_s=0.0)
    wire.bytes_per_s, _, wire.latency_s = setting.link(index)
    return Client(device.name, index, setting.task, setting.config, wire, slowdown, Record())


if __name__ == "__main__":
    main()
