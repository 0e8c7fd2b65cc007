"""Runs a variant of a scenario for real on this machine: starts the processes, collects what they noted.

Rates and delays of links are shaped in the transport, by the sender (`wire`), and devices are slowed
by their duty cycle (`pace`): neither needs privileges, and the loopback between the processes takes a
fraction of a millisecond.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sflsim.errors import SflsimError
from sflsim.fleet.population import build_fleet
from sflsim.rows import Span
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Session
from testbed.setting import Setting
from testbed.wire import GONE

SHAPING = "rates and delays shaped in the transport, by the sender; devices slowed by their duty cycle"
MEASURED = ["actor", "activity", "start_s", "end_s", "round", "client"]
ALONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Every process computes with one thread, in every thread that it has."""
FOLDER = Path(__file__).parents[1]
"""The folder that holds this package, which is not installed."""


@dataclass(frozen=True)
class Reality:
    """What really happened: columns as in the tables of a simulation, times from the first span on."""

    spans: pd.DataFrame
    evaluations: pd.DataFrame


def run_testbed(
    scenario: Scenario,
    variant: int = 0,
    seed: int = 0,
    *,
    slowdowns: Mapping[str, float],
    server_slowdown: float = 1.0,
    patience_s: float = 600.0,
) -> Reality:
    """Run one variant under one seed with a process for each client and one for the server.

    `slowdowns` says for each group how much slower its devices are than this machine with one thread,
    `server_slowdown` the same of the server: the rates in the scenario are not looked at. Links, slots,
    participants and all that is learned are the scenario's.

    Raises:
        ScenarioError: the scenario has what a testbed cannot do.
        SflsimError: a process failed, or took too long.
    """
    Setting.of(Session(scenario, Options(threads=1)), variant, seed)
    fleet = build_fleet(scenario.fleet, seed)
    groups = [fleet.device(index).group for index in range(len(fleet))]
    missing = sorted(set(groups) - set(slowdowns))
    if missing:
        raise SflsimError(f"testbed: no slowdown is given for {', '.join(missing)}")
    order = {"scenario": scenario.to_yaml(), "variant": variant, "seed": seed, "slowdown": server_slowdown}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as started:
        result = Path(folder) / "result.json"
        (Path(folder) / "order.json").write_text(json.dumps(order), encoding="utf-8")
        server = _start(started, "server", str(Path(folder) / "order.json"), str(result))
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        processes = [server]
        for index, group in enumerate(groups if port else []):
            processes.append(_start(started, "client", "127.0.0.1", port, str(index), str(slowdowns[group])))
        _wait(processes, patience_s)
        return _reality(json.loads(result.read_text(encoding="utf-8")))


def _start(started: ExitStack, role: str, *arguments: str) -> subprocess.Popen[str]:
    """Start the process of one party; it ends with the testbed, whatever happens."""
    path = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(  # noqa: S603 (this interpreter, a module of this package)
        [sys.executable, "-m", f"testbed.{role}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ALONE, "PYTHONPATH": path},
    )
    started.callback(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()


def _wait(processes: list[subprocess.Popen[str]], patience_s: float) -> None:
    """Wait for all; one that fails makes the others lose their connection.

    Raises:
        SflsimError: with the last lines that the processes which failed had to say.
    """
    last = []
    for process in processes:
        try:
            _, said = process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            raise SflsimError(f"testbed: not done after {patience_s:g} s") from None
        if process.returncode:
            last.append((said.strip().splitlines() or ["nothing"])[-1])
    if last:
        causes = [line for line in last if GONE not in line] or last
        raise SflsimError(f"testbed: a process failed and said: {'; '.join(dict.fromkeys(causes))}")


def _reality(result: Mapping[str, Any]) -> Reality:
    spans = pd.DataFrame(result["spans"], columns=list(Span._fields))[MEASURED]
    evaluations = pd.DataFrame(result["evaluations"], columns=["round", "time_s", "accuracy", "loss"])
    began_s = spans["start_s"].min()
    spans[["start_s", "end_s"]] -= began_s
    evaluations["time_s"] = (evaluations["time_s"] - began_s).clip(lower=0.0)
    return Reality(spans.sort_values(["start_s", "end_s"], ignore_index=True), evaluations)
