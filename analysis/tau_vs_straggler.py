"""Is the time to accuracy independent of the stragglers, if tau fills the time they take?

MU-SplitFed (arXiv 2510.21155) argues: rounds fall as 1 / tau, so with tau = t_straggler / t_server
the total time is that of the server alone. Here the mean exponential delay of a participant goes
from 0 to 100 server steps, for fixed and adaptive tau, on digits. A fixed tau is trained once:
the learning of a synchronous algorithm does not depend on the clock.

With `--fashion` the real Fashion-MNIST is learned in place of digits; a tenth of its training images, which
is held out, measures the accuracy.

    python analysis/tau_vs_straggler.py [--quick] [--fashion] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import sflsim

STEP_S = 0.1  # one server step: two forward passes of 0.05 GFLOP at 1 GFLOP/s
SCENARIO = """
name: tau-vs-straggler
workload:
  model: {kind: mlp, hidden: [64, 64]}
  # only the server's steps and the stragglers take time
  costs: {client_forward: 0 FLOP, server_forward: 0.05 GFLOP, activation: 0 byte, labels: 0 byte,
          client_model: 0 byte}
fleet:
  clients: 10
  participants: 5
  groups: [{device: {compute: 1 GFLOP/s}, link: {up: unlimited, down: unlimited}}]
server: {compute: 1 GFLOP/s, slots: 5}
variants: [{algorithm: mu-splitfed, eta_g: 1.0, tau: [1, 2, 4, 8, adaptive], tau_max: 24}]
stop: {rounds: 900, accuracy: 75%}
evaluate: {every: 5 rounds}
"""
FULL = {"delays": [0, 1, 3, 10, 30, 100], "seeds": [0, 1, 2], "rounds": 900}
QUICK = {"delays": [0, 10], "seeds": [0], "rounds": 60}
FASHION = [
    "workload.dataset={kind: fashion-mnist, validation: 10%, evaluate_on: validation, held_out_limit: 2000}",
    "variants[0].eta_g=0.3",
    "stop.accuracy=50%",
]


def study(delays: list[int], seeds: list[int], rounds: int, changes: list[str]) -> pd.DataFrame:
    """Return the time and the rounds to the target: a row for each delay, tau and seed."""
    store = sflsim.MemoryStore()
    rows = []
    for delay in delays:
        own = [f"seeds={seeds}", f"stop.rounds={rounds}"]
        if delay:
            own.append(f"fleet.straggler={{kind: exponential, mean: {delay * STEP_S} s}}")
        scenario = sflsim.parse_scenario(SCENARIO, overrides=[*changes, *own])
        run, target = sflsim.simulate(scenario, store=store), scenario.stop.accuracy
        for (variant, seed), curve in run.evaluations.groupby(["variant", "seed"], sort=False):
            last = curve.iloc[-1]
            reached = last["accuracy"] >= target
            rows.append(
                {
                    "target": target,
                    "delay_steps": delay,
                    "tau": variant.removeprefix("mu-splitfed tau="),
                    "seed": seed,
                    "time_steps": last["time_s"] / STEP_S if reached else float("nan"),
                    "rounds": last["round"] if reached else float("nan"),
                    "accuracy": last["accuracy"],
                    "steps_per_exchange": last["step"] / last["round"] / 5,
                    "trainings": run.manifest["computed_calls"].get("exchange", 0),
                }
            )
        print(
            f"delay {delay} steps: {run.manifest['computed_calls'].get('exchange', 0)} rounds trained",
            flush=True,
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: time to the target against the mean delay, one line for each tau."""
    figure = Figure(figsize=(3.5, 2.8), layout="constrained")
    axes = figure.add_subplot()
    colours = ["#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000"]
    mean = table.groupby(["tau", "delay_steps"], sort=False)["time_steps"].mean()
    for tau, colour, marker in zip(dict.fromkeys(table["tau"]), colours, "o^Dv*", strict=False):
        axes.plot(mean[tau].index, mean[tau], marker=marker, color=colour, label=f"tau = {tau}", markersize=4)
    target = f"{table['target'].iloc[0]:.0%}"
    axes.set(xlabel="mean straggler delay (server steps)", ylabel=f"time to {target} (server steps)")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("log")
    axes.legend(fontsize=7)
    return figure


def main() -> None:
    """Run the study and write its table and figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small setting, for CI")
    parser.add_argument("--fashion", action="store_true", help="Fashion-MNIST in place of digits")
    parser.add_argument("--out", type=Path, default=Path("analysis/results"))
    arguments = parser.parse_args()
    table = study(**(QUICK if arguments.quick else FULL), changes=FASHION if arguments.fashion else [])
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "tau_vs_straggler_fashion" if arguments.fashion else "tau_vs_straggler"
    table.to_csv(arguments.out / f"{name}.csv", index=False)
    draw(table).savefig(arguments.out / f"{name}.png", dpi=200)
    wide = table.pivot_table(
        index="delay_steps", columns="tau", values="time_steps", sort=False, dropna=False
    )
    target = f"{table['target'].iloc[0]:.0%}"
    print(f"time to {target}, in server steps, mean over seeds:\n{wide.round(0).to_string()}")


if __name__ == "__main__":
    main()
