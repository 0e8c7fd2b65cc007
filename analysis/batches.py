"""Merged batches and batch sizes per device against tau: what helps where half of the devices are slow?

Ten devices, five per round; half of them compute k times slower, all the time. SplitFed V1 and PSL wait, with
equal batches or with sizes by which all exchanges take equally long; MU-SplitFed uses the wait for server
steps. Digits are learned, AlexNet on CIFAR-10 is charged. Time and uplink to the target accuracy.

    python analysis/batches.py [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import sflsim

TARGET = 0.8
SCENARIO = """
name: batches
workload:
  model: {kind: mlp, hidden: [64, 64]}
  batch_size: 32
  costs: {client_forward: 358.6 MFLOP, client_backward: 660.6 MFLOP, server_forward: 4.111 GFLOP,
          server_backward: 8.221 GFLOP, activation: 512 KiB, labels: 256 byte, client_model: 77568 byte,
          server_model: 15397416 byte}
fleet:
  clients: 10
  participants: 5
  groups:
    - {name: fast, share: 50%, device: {compute: 8 GFLOP/s}, link: {up: 40 Mbit/s, down: 40 Mbit/s}}
    - {name: slow, share: 50%, device: {compute: 8 GFLOP/s}, link: {up: 40 Mbit/s, down: 40 Mbit/s}}
server: {compute: 100 GFLOP/s, slots: 1}
variants:
  - {algorithm: splitfed-v1, local_iterations: 4, client_optimizer: {lr: 0.1}, server_optimizer: {lr: 0.1}}
  - {algorithm: psl, local_iterations: 4, client_optimizer: {lr: 0.1}, server_optimizer: {lr: 0.1}}
  - {algorithm: mu-splitfed, tau: [4, adaptive], tau_max: 16, eta_s: 0.01, eta_c: 0.005, eta_g: 1.0}
stop: {rounds: 300, accuracy: 80%}
evaluate: {every: 5 rounds}
"""
BATCHES = {"equal": "32", "per device": "{by: exchange, mean: 32, min: 4}"}
FULL = {"slower": [1, 4, 16], "seeds": [0, 1], "rounds": 300}
QUICK = {"slower": [4], "seeds": [0], "rounds": 50}


def study(slower: list[int], seeds: list[int], rounds: int) -> pd.DataFrame:
    """Return time and uplink to the target, and the share of waiting: a row for each k, way and seed."""
    store, rows = sflsim.MemoryStore(), []
    for k in slower:
        for batches, rule in BATCHES.items():
            changes = [f"seeds={seeds}", f"stop.rounds={rounds}", f"workload.batch_size={rule}"]
            changes.append(f"fleet.groups[1].device.compute={8 / k} GFLOP/s")
            run = sflsim.simulate(sflsim.parse_scenario(SCENARIO, overrides=changes), store=store)
            for (variant, seed), curve in run.evaluations.groupby(["variant", "seed"], sort=False):
                last, clients = curve.iloc[-1], run.clients
                own = clients[(clients["variant"] == variant) & (clients["seed"] == seed)]
                reached = last["accuracy"] >= TARGET
                rows.append(
                    {
                        "slower": k,
                        "variant": variant,
                        "batches": batches,
                        "seed": seed,
                        "time_s": last["time_s"] if reached else float("nan"),
                        "rounds": last["round"] if reached else float("nan"),
                        "uplink_bytes": last["uplink_bytes"] if reached else float("nan"),
                        "accuracy": last["accuracy"],
                        "wait_share": own["wait_s"].sum() / (last["time_s"] * 5),
                        "fewest": own["batch_size"].min(),
                        "most": own["batch_size"].max(),
                    }
                )
        print(f"half of the devices {k} times slower: done", flush=True)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: time to the target against k, a colour for each variant, dashed with own sizes."""
    figure = Figure(figsize=(3.5, 2.8), layout="constrained")
    axes = figure.add_subplot()
    colours = dict(
        zip(dict.fromkeys(table["variant"]), ["#000000", "#E69F00", "#009E73", "#56B4E9"], strict=True)
    )
    mean = table.groupby(["variant", "batches", "slower"], sort=False)["time_s"].mean()
    for (variant, batches), own in mean.groupby(["variant", "batches"], sort=False):
        line, label = ("-", variant) if batches == "equal" else ("--", None)
        x = own.index.get_level_values("slower")
        axes.plot(x, own, line, marker="o", markersize=3, color=colours[variant], label=label)
    axes.plot([], [], "--", color="gray", label="batch size per device")
    axes.set(xlabel="half of the devices slower by", ylabel=f"time to {TARGET:.0%} (s)")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.legend(fontsize=7)
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
    table.to_csv(arguments.out / "batches.csv", index=False)
    draw(table).savefig(arguments.out / "batches.png", dpi=200)
    for name in ("time_s", "rounds", "wait_share"):
        wide = table.pivot_table(
            index="slower", columns=["variant", "batches"], values=name, sort=False, dropna=False
        )
        print(f"{name}, mean over seeds:\n{wide.round(2).to_string()}")


if __name__ == "__main__":
    main()
