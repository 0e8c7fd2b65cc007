"""Time and peak memory of one timing-only run as the fleet and a round's participants grow; no spans kept.

    python benchmarks/scale.py [--quick]

SplitFed V1. Each run is a process of its own, held to two cores; its time is that of `simulate`, tables
included, its memory the most that the process ever held, imports included. Goals: 10^6 devices, 1,000
participants, 100 rounds within 60 s and 1 GiB; 10,000 participants in one round through one shared
server link within 30 s; 10^7 devices within 4 GiB; links drawn from the percentiles of two countries
within 1.3 x of the time with links by simple laws. Without torch: that is looked at too.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from statistics import median

SCENARIO = """
name: scale
workload:
  {{dataset: digits, model: mlp, cut: 1, batch_size: 32, costs: {{
    client_forward: 2 MFLOP, client_backward: 4 MFLOP, server_forward: 20 MFLOP, server_backward: 40 MFLOP,
    activation: 32 kB, labels: 128 byte, client_model: 64 kB, server_model: 576 kB, scalar: 4 byte,
    client_saved: 64 kB, client_live: 64 kB, client_step: 256 kB, client_frozen: 0 byte,
    whole_saved: 640 kB, whole_live: 640 kB, whole_step: 2 MB, server_frozen: 0 byte,
    auxiliary_forward: 0 FLOP, auxiliary_backward: 0 FLOP, auxiliary_model: 0 byte}}}}
fleet:
  clients: {clients}
  participants: {participants}
  groups:
    - {{share: 70%, device: raspberry-pi-4, link: {links[0]}}}
    - {{share: 30%, device: jetson-nano, link: {links[1]}}}
  straggler: {{kind: exponential, mean: 2 s}}
server: {{compute: 10 TFLOP/s, slots: 4{link}}}
variants: [{{algorithm: splitfed-v1}}]
stop: {{rounds: {rounds}}}
evaluate: {{every: 10 rounds}}
"""
SHARED = ", link: {up: 10 Gbit/s, down: 1 Gbit/s}"
BY_LAWS = "{up: {kind: lognormal, median: 8 Mbit/s, sigma: 0.5}, down: 40 Mbit/s}", "wifi"
BY_COUNTRY = "country-us", "country-ng"
COUNTRY_RATIO = 1.3
MIB = 2**20


@dataclass(frozen=True)
class Case:
    """One run, and what it may take at most."""

    clients: int
    participants: int
    rounds: int
    shared: bool = False
    country: bool = False
    goal_s: float | None = None
    goal_mib: float | None = None

    def scenario(self) -> str:
        """Return its scenario."""
        link = SHARED if self.shared else ""
        counts = {"clients": self.clients, "participants": self.participants, "rounds": self.rounds}
        return SCENARIO.format(**counts, link=link, links=BY_COUNTRY if self.country else BY_LAWS)


LARGE = Case(10**6, 1000, 100, goal_s=60, goal_mib=1024)
GOALS = [LARGE, Case(10**5, 10**4, 1, True, goal_s=30), Case(10**7, 1000, 100, goal_mib=4096)]
DEVICES = [Case(10**power, 100, 20) for power in (3, 4, 5, 6)]
PARTICIPANTS = [Case(10**6, 10**power, 5, shared) for shared in (False, True) for power in (1, 2, 3, 4)]
QUICK = [Case(10**power, 10, 2, shared) for power in (3, 5) for shared in (False, True)]


def measure(case: Case) -> None:
    """Run a case here; print its seconds, its mebibytes and whether torch was loaded."""
    import sflsim

    scenario = sflsim.parse_scenario(case.scenario())
    started = time.perf_counter()
    run = sflsim.simulate(scenario, timing_only=True, keep_spans=False)
    seconds = time.perf_counter() - started
    assert run.runs["rounds"].to_list() == [case.rounds]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(seconds, most / MIB, "torch" in sys.modules)


def of_process(case: Case) -> tuple[float, float, bool]:
    """Run a case in a process of its own; return seconds, mebibytes, whether torch was loaded."""
    fields = [case.clients, case.participants, case.rounds, int(case.shared), int(case.country)]
    told = subprocess.run(
        [sys.executable, __file__, "--case", *map(str, fields)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    return float(told[0]), float(told[1]), told[2] == "True"


def row(case: Case) -> str:
    """Return the line of a case."""
    seconds, mebibytes, torch = of_process(case)
    link = "shared" if case.shared else "unlimited"
    line = f"{case.clients:>9} {case.participants:>12} {case.rounds:>6} {link:>11} "
    line += f"{seconds:>8.2f} {mebibytes:>8.0f}"
    for goal, found, unit in ((case.goal_s, seconds, "s"), (case.goal_mib, mebibytes, "MiB")):
        if goal is not None:
            line += f"  goal {goal:g} {unit}: {'met' if found <= goal else 'MISSED'}"
    return line + ("  TORCH WAS LOADED" if torch else "")


def main() -> None:
    """Print the goals' cases, then how cost grows."""
    if "--case" in sys.argv:
        clients, participants, rounds, shared, country = map(int, sys.argv[sys.argv.index("--case") + 1 :])
        measure(Case(clients, participants, rounds, bool(shared), bool(country)))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    quick = "--quick" in sys.argv
    print(f"{'devices':>9} {'participants':>12} {'rounds':>6} {'server link':>11} {'s':>8} {'MiB':>8}")
    for case in QUICK if quick else [*GOALS, *DEVICES, *PARTICIPANTS]:
        print(row(case), flush=True)
    large = replace(LARGE, clients=10**4, participants=10, rounds=10) if quick else LARGE
    pairs = [
        (of_process(replace(large, country=True))[0], of_process(large)[0]) for _ in range(1 if quick else 3)
    ]
    ratio = median(drawn_s / by_laws_s for drawn_s, by_laws_s in pairs)
    verdict = f"goal {COUNTRY_RATIO}: {'met' if ratio <= COUNTRY_RATIO else 'MISSED'}"
    print(f"links of countries / links by laws, {large.clients} devices: {ratio:.2f}  {verdict}")


if __name__ == "__main__":
    main()
