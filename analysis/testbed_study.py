"""How far is the simulated clock from real processes?

Four clients and a server run as processes of their own on this machine, over real sockets, and then
in the simulator with the rates that `calibrate` measured here. Two clients are slow and have a slow
link, two are faster: links are shaped in the transport and devices slowed by their duty cycle, which
needs no privileges. First-order algorithms with a message each way (splitfed-v1, splitfed-v2), zeroth-order
ones with server steps that overlap the client's messages (mu-splitfed) or with barriers inside a step
(ho-sfl), one with local losses (cse-fsl), an unsplit one (fedavg), and two without rounds (gas, fedbuff).
Both learn the same where the order of arrival does not matter, so that only the clock differs. Without
rounds, times from update to update are compared, and exchanges by their number for each client.

With `--kinds`, the network has a block of depthwise convolutions beside dense ones, and nothing of it is
measured: its times are predicted from rates by kind of operation that are fitted to other networks, and
beside that from one rate that is fitted to the same measurements.

With `--ranks`, the order in which the algorithms reach a target accuracy, on three fleets.

    python analysis/testbed_study.py [--quick] [--kinds | --ranks] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from testbed import ranks
from testbed.comparison import beside, learning_apart, table
from testbed.prediction import (
    OF_KINDS,
    OF_PARTS,
    SERVER_SLOWDOWN,
    SLOWDOWNS,
    Predict,
    calibrated,
    pooled,
)
from testbed.runner import SHAPING, Reality, run_testbed

import sflsim

ROUNDS = 12
REPEAT = 20
SCENARIO = """
name: testbed
seeds: [0]
workload: {model: {kind: cnn, channels: [32, 32], dense: 64}, cut: 1, batch_size: 64}
fleet:
  clients: 4
  groups:
    - {name: slow, count: 2, device: {compute: 1 GFLOP/s},
       link: {up: 12 Mbit/s, down: 16 Mbit/s, latency: 30 ms}}
    - {name: fast, count: 2, device: {compute: 1 GFLOP/s},
       link: {up: 24 Mbit/s, down: 32 Mbit/s, latency: 15 ms}}
server: {compute: 1 GFLOP/s, slots: 1}
variants:
  - {algorithm: splitfed-v1, local_iterations: 2}
  - {algorithm: mu-splitfed, tau: 2, eta_g: 1.0}
  - {algorithm: fedavg, local_iterations: 3}
  - {algorithm: splitfed-v2, local_iterations: 2}
  - {algorithm: mu-splitfed, name: mu-splitfed adaptive, tau: adaptive, tau_max: 8, eta_g: 1.0}
  - {algorithm: ho-sfl, perturbations: 2}
  - {algorithm: cse-fsl, local_iterations: 4, q: 2}
  - {algorithm: gas, local_iterations: 2, q_s: 4, q_c: 4}
  - {algorithm: fedbuff, local_iterations: 3, b: 4}
stop: {rounds: 12}
evaluate: {every: 1 round}
"""
UNLIKE = SCENARIO.replace("{kind: cnn, channels: [32, 32], dense: 64}, cut: 1", "unlike, cut: 2")
"""The same with a network whose blocks differ in kind."""
QUICK_ROUNDS = 4
QUICK_REPEAT = 5
QUICK_VARIANTS = (0, 4, 6)
"""Of the ranks."""


def real_and_simulated(
    scenario: sflsim.Scenario, variant: int, repeat: int, ways: Mapping[str, Predict] = OF_PARTS
) -> tuple[Reality, dict[str, sflsim.Run], float]:
    """Run a variant for real, and simulate it in several ways with what was measured before and after.

    Both together, as a machine that others use is not equally fast all the time. The third value
    says how unequally: the largest change of a work's median time from before to after.
    """
    kinds = ways is OF_KINDS
    before = calibrated(scenario, repeat, kinds)
    real = run_testbed(scenario, variant, slowdowns=SLOWDOWNS, server_slowdown=SERVER_SLOWDOWN)
    both, drift = pooled(before, calibrated(scenario, repeat, kinds))
    runs = {name: sflsim.simulate(way(scenario, both, variant)) for name, way in ways.items()}
    return real, runs, drift


def study(rounds: int, repeat: int, kinds: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (every duration measured and predicted, the distance of what was learned)."""
    text, ways = (UNLIKE, OF_KINDS) if kinds else (SCENARIO, OF_PARTS)
    scenario = sflsim.parse_scenario(text, overrides=[f"stop.rounds={rounds}"])
    times, learned = [], []
    for number in range(len(scenario.variants)):
        real, runs, drift = real_and_simulated(scenario, number, repeat, ways)
        for name, run in runs.items():
            label = str(run.evaluations["variant"].iloc[0])
            times.append(beside(real, run).assign(algorithm=label, by=name))
            learned.append(learning_apart(real, run).assign(algorithm=label))
        print(
            f"{label}: {rounds} rounds for real and simulated; "
            f"this machine's rates changed by up to {drift:.0%} meanwhile",
            flush=True,
        )
    return pd.concat(times), pd.concat(learned)


def study_of_ranks(quick: bool, out: Path) -> None:
    """Run the study of the order of algorithms and write its tables."""
    fleets, variants = list(ranks.FLEETS), list(ranks.VARIANTS)
    if quick:
        fleets, variants = fleets[1:2], [variants[place] for place in QUICK_VARIANTS]
    found, times = ranks.measure(fleets, variants, QUICK_REPEAT if quick else REPEAT // 2)
    found.to_csv(out / "testbed_ranks.csv", index=False)
    errors = table(times)
    errors.to_csv(out / "testbed_ranks_errors.csv", index=False)
    print(f"{SHAPING}\nto {ranks.TARGET:.0%}:\n{found.round(3).to_string(index=False)}")
    for fleet, tau, swapped in ranks.agreement(found):
        print(f"{fleet}: Kendall's tau {tau:.2f}; swapped: {', '.join(swapped) or 'none'}")
    shown = errors[errors["what"].isin(["round", "update", "exchange"])]
    print(shown.round(3).to_string(index=False))


def main() -> None:
    """Run the study and write its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small setting, for CI")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--kinds", action="store_true", help="blocks that differ in kind, none measured")
    which.add_argument("--ranks", action="store_true", help="the order of the algorithms on three fleets")
    parser.add_argument("--out", type=Path, default=Path("analysis/results"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.ranks:
        study_of_ranks(arguments.quick, arguments.out)
        return
    rounds, repeat = (QUICK_ROUNDS, QUICK_REPEAT) if arguments.quick else (ROUNDS, REPEAT)
    times, learned = study(rounds, repeat, arguments.kinds)
    name = "testbed_kinds" if arguments.kinds else "testbed"
    times.to_csv(arguments.out / f"{name}_durations.csv", index=False)
    found = table(times)
    found.to_csv(arguments.out / f"{name}.csv", index=False)
    print(f"{SHAPING}\n{found.round(3).to_string(index=False)}")
    print(f"learning, largest difference:\n{learned.groupby('algorithm').max().to_string()}")


if __name__ == "__main__":
    main()
