"""Who takes part, against what else helps against stragglers: which is fast, and which leaves the slow out?

Thirty devices, a fifth of them slow, five in a round, on digits. Policies of selection (uniform, FedCS, TiFL,
Oort) stand beside over-selection, a deadline and an adaptive tau, while the exponential delay grows, is drawn
anew in each round or stays with the device (persistent stragglers), and labels are spread evenly or skewed.
Fair is a measure in which the slow fifth has a fifth of the participations that count.

    python analysis/selection.py [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

import sflsim

TARGET = 0.8
SCENARIO = """
name: selection
workload:
  model: {kind: mlp, hidden: [64, 64]}
  costs: {client_forward: 358.6 MFLOP, client_backward: 660.6 MFLOP, server_forward: 4.111 GFLOP,
          server_backward: 8.221 GFLOP, activation: 512 KiB, labels: 256 byte, client_model: 77568 byte}
fleet:
  clients: 30
  participants: 5
  groups:
    - {name: fast, share: 80%, device: {compute: 2 GFLOP/s}, link: wifi}
    - {name: slow, share: 20%, device: {compute: 400 MFLOP/s}, link: wifi}
server: {compute: 100 GFLOP/s, slots: 1, link: {up: 1 Gbit/s, down: 1 Gbit/s}}
variants: [splitfed-v1]
stop: {rounds: 600, accuracy: 80%}
evaluate: {every: 10 rounds}
"""
OF_ALL = "{algorithm: splitfed-v1, client_optimizer: {lr: 0.1}, server_optimizer: {lr: 0.1}"
TAU = "{algorithm: mu-splitfed, tau: adaptive, tau_max: 16, eta_s: 0.01, eta_c: 0.005, eta_g: 1.0}"
FULL: dict[str, Any] = {"delays_s": [0.5, 2.0, 8.0], "seeds": [0, 1], "rounds": 600, "skewed": [False, True]}
QUICK: dict[str, Any] = {"delays_s": [2.0], "seeds": [0], "rounds": 10, "skewed": [False]}


def measures(delay_s: float) -> dict[str, list[str]]:
    """Return the changes of each measure; a time leaves 1.5 s, or 2.5 s, beside the mean delay."""
    policies = {
        "uniform": "uniform",
        "FedCS": f"{{kind: fedcs, within: {delay_s + 1.5} s}}",
        "TiFL": "{kind: tifl, tiers: 5}",
        "Oort": "oort",
    }
    variants = {
        "over-selection": f"{OF_ALL}, over_selection: 2}}",
        "deadline": f"{OF_ALL}, deadline: {delay_s + 2.5} s}}",
        "adaptive tau": TAU,
    }
    by_policy = {name: [f"fleet.selection={one}", f"variants=[{OF_ALL}}}]"] for name, one in policies.items()}
    return by_policy | {name: [f"variants=[{one}]"] for name, one in variants.items()}


def study(delays_s: list[float], seeds: list[int], rounds: int, skewed: list[bool]) -> pd.DataFrame:
    """Return a row for each kind of delay, partition, measure and seed."""
    rows = []
    for skew, redraw, delay_s in product(skewed, ("round", "client"), delays_s):
        delay = f"fleet.straggler={{kind: exponential, mean: {delay_s} s, redraw: {redraw}}}"
        common = [delay, f"seeds={seeds}", f"stop.rounds={rounds}"]
        common += ["workload.partition={kind: dirichlet, alpha: 0.3}"] if skew else []
        setting = {"delay_s": delay_s, "persistent": redraw == "client", "skewed": skew}
        store = sflsim.MemoryStore()
        for name, changes in measures(delay_s).items():
            scenario = sflsim.parse_scenario(SCENARIO, overrides=[*common, *changes])
            run = sflsim.simulate(scenario, store=store)
            rows += [setting | {"measure": name} | row for row in outcomes(run)]
    return pd.DataFrame(rows)


def outcomes(run: sflsim.Run) -> list[dict[str, Any]]:
    """Return time and rounds to the target, the last accuracy and the slow group's part, for each seed."""
    rows = []
    for seed, curve in run.evaluations.groupby("seed", sort=False):
        clients = run.clients[run.clients["seed"] == seed]
        counted = clients["rounds"] - clients["dropped"]
        last = curve.iloc[-1]
        reached = last["accuracy"] >= TARGET
        rows.append(
            {
                "seed": seed,
                "time_s": last["time_s"] if reached else float("nan"),
                "rounds": last["round"] if reached else float("nan"),
                "accuracy": last["accuracy"],
                "slow_share": counted[clients["group"] == "slow"].sum() / counted.sum(),
            }
        )
    return rows


def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: time to the target against the mean delay, a panel for each setting."""
    settings = list(table[["skewed", "persistent"]].drop_duplicates().itertuples(index=False))
    figure = Figure(figsize=(3.2 * len(settings), 3.2), layout="constrained")
    colours = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00"]
    for place, (skewed, persistent) in enumerate(settings):
        axes = figure.add_subplot(1, len(settings), place + 1)
        part = table[(table["skewed"] == skewed) & (table["persistent"] == persistent)]
        mean = part.groupby(["measure", "delay_s"], sort=False)["time_s"].mean()
        for name, colour, marker in zip(part["measure"].unique(), colours, "ovs*^D+", strict=False):
            axes.plot(mean[name].index, mean[name], marker=marker, color=colour, label=name, markersize=4)
        labels, delays = "skewed labels" if skewed else "even labels", "stay" if persistent else "drawn anew"
        axes.set_title(f"{labels}, delays {delays}", fontsize=8)
        axes.set(xlabel="mean delay (s)", ylabel=f"time to {TARGET:.0%} (s)", xscale="log")
        axes.set_xticks(part["delay_s"].unique(), [f"{delay:g}" for delay in part["delay_s"].unique()])
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        if mean.notna().any():
            axes.set_yscale("log")
    axes.legend(fontsize=6)
    return figure


def main() -> None:
    """Run the study and write its table and figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small setting, for CI")
    parser.add_argument("--out", type=Path, default=Path("analysis/results"))
    arguments = parser.parse_args()
    table = study(**(QUICK if arguments.quick else FULL))
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.out / "selection.csv", index=False)
    draw(table).savefig(arguments.out / "selection.png", dpi=200)
    columns = ["skewed", "persistent", "delay_s"]
    for figure in ("time_s", "slow_share"):
        wide = table.pivot_table(index=columns, columns="measure", values=figure, sort=False, dropna=False)
        print(f"{figure}, mean over seeds:\n{wide.round(2).to_string()}")


if __name__ == "__main__":
    main()
