"""Which tau and which cut together: on rounds, and on the clock?

MU-SplitFed's theory (arXiv 2510.21155) says that a larger tau wants an earlier cut, and counts
rounds. The clock also counts what a cut costs: an early cut leaves the server more to compute per
step, a late one the device. Here every cut of a four-block network meets every tau, with costs
derived from the network; device and server are as slow, relative to it, as a Raspberry Pi 4 and an
edge server are to AlexNet.

With `--fashion` the real Fashion-MNIST is learned in place of digits; a tenth of its training images, which
is held out, measures the accuracy.

    python analysis/tau_cut_map.py [--quick] [--fashion] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import sflsim

SCENARIO = """
name: tau-cut-map
workload: {model: {kind: mlp, hidden: [64, 64, 64]}}
fleet:
  clients: 10
  participants: 5
  groups: [{device: {compute: 10 MFLOP/s}, link: {up: 2 Mbit/s, down: 2 Mbit/s, latency: 10 ms}}]
  straggler: {kind: exponential, mean: 0.5 s}
server: {compute: 60 MFLOP/s, slots: 2}
variants: [{algorithm: mu-splitfed, eta_g: 1.0, cut: [1, 2, 3], tau: [1, 2, 4, 8, 16]}]
stop: {rounds: 1200, accuracy: 70%}
evaluate: {every: 10 rounds}
"""
FULL = {"seeds": [0, 1, 2], "changes": []}
QUICK = {"seeds": [0], "changes": ["stop.rounds=60", "variants[0].tau=[4, 16]", "variants[0].cut=[1, 3]"]}
FASHION = [
    "workload.dataset={kind: fashion-mnist, validation: 10%, evaluate_on: validation, held_out_limit: 2000}",
    "fleet.groups[0].device.compute=100 MFLOP/s",  # the first block then takes as long as that for digits
    "variants[0].eta_g=0.3",
    "stop.accuracy=50%",
]


def study(seeds: list[int], changes: list[str]) -> pd.DataFrame:
    """Return rounds and time to the target (infinite if not reached): a row for each cut, tau and seed."""
    scenario = sflsim.parse_scenario(SCENARIO, overrides=[*changes, f"seeds={seeds}"])
    settings = {variant.name: (variant.cut, variant.tau) for variant in scenario.variants}
    run, target = sflsim.simulate(scenario), scenario.stop.accuracy
    rows = []
    for (variant, seed), curve in run.evaluations.groupby(["variant", "seed"], sort=False):
        last = curve.iloc[-1]
        reached = last["accuracy"] >= target
        cut, tau = settings[variant]
        rows.append(
            {
                "target": target,
                "cut": cut,
                "tau": tau,
                "seed": seed,
                "rounds": last["round"] if reached else float("inf"),
                "time_s": last["time_s"] if reached else float("inf"),
                "accuracy": last["accuracy"],
                "server_busy_s": last["server_busy_s"],
            }
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: two heat maps over cut and tau, medians over seeds; '-' where not reached."""
    figure = Figure(figsize=(7.0, 2.6), layout="constrained")
    panels = (("rounds", "rounds", 1.0), ("time_s", "simulated time (min)", 60.0))
    for axes, (column, label, unit) in zip(figure.subplots(1, 2), panels, strict=True):
        grid = table.pivot_table(index="cut", columns="tau", values=column, aggfunc="median") / unit
        shown = grid.replace(float("inf"), float("nan"))
        image = axes.imshow(shown, cmap="viridis_r", aspect="auto")
        axes.set_xticks(range(len(grid.columns)), grid.columns)
        axes.set_yticks(range(len(grid.index)), grid.index)
        axes.set(xlabel="tau (server steps per exchange)", ylabel="cut (blocks at the client)")
        axes.set_title(f"{label} to {table['target'].iloc[0]:.0%}", fontsize=9)
        middle = (shown.max(axis=None) + shown.min(axis=None)) / 2
        for row, cut in enumerate(grid.index):
            for column_number, tau in enumerate(grid.columns):
                value = shown.loc[cut, tau]
                text = "-" if pd.isna(value) else f"{value:.0f}" if value >= 100 else f"{value:.3g}"
                colour = "white" if value > middle else "black"
                axes.text(column_number, row, text, ha="center", va="center", fontsize=8, color=colour)
        figure.colorbar(image, ax=axes)
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
    settings = QUICK if arguments.quick else FULL
    changes = [*(FASHION if arguments.fashion else []), *settings["changes"]]
    table = study(settings["seeds"], changes)
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "tau_cut_map_fashion" if arguments.fashion else "tau_cut_map"
    table.to_csv(arguments.out / f"{name}.csv", index=False)
    draw(table).savefig(arguments.out / f"{name}.png", dpi=200)
    target = f"{table['target'].iloc[0]:.0%}"
    for column in ("rounds", "time_s"):
        grid = table.pivot_table(index="cut", columns="tau", values=column, aggfunc="median")
        print(f"{column} to {target}, median over seeds (inf: not reached):\n{grid.round(0).to_string()}\n")


if __name__ == "__main__":
    main()
