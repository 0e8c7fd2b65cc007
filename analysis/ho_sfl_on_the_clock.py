"""Where do scalars lose to three exchanges a step? HO-SFL over latency and bandwidth.

HO-SFL (arXiv 2603.14773) sends no parameters, but its step has three dependent exchanges where
SplitFed's has two and the transfer of the client part. Here its time to accuracy stands beside that
of SplitFed V1, MU-SplitFed and two controls whose clients learn nothing (frozen-client, and HO-SFL
with clients that stand still), for every latency and bandwidth: who is first, and how much slower or
faster HO-SFL is than SplitFed V1. Every algorithm is trained once; the links only change the clock.
The network's first layer is narrow, so that random features do not do. Costs: ResNet-18 cut after
layer2, 32 x 32 images, batch 16 (activation 128 KiB, client part 2.7 MB); what is learned: digits.

With `--fashion` the real Fashion-MNIST is learned in place of digits; a tenth of its training images, which
is held out, measures the accuracy.

    python analysis/ho_sfl_on_the_clock.py [--quick] [--fashion] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import sflsim

SCENARIO = """
name: ho-sfl-on-the-clock
workload:
  model: {kind: mlp, hidden: [12, 64]} # so narrow that the client part must learn
  batch_size: 16
  costs: {client_forward: 647.5 MFLOP, client_backward: 1.218 GFLOP, server_forward: 537 MFLOP,
          server_backward: 1.074 GFLOP, activation: 128 KiB, labels: 128 byte, client_model: 2732288 byte}
fleet: {clients: 20, participants: 5, groups: [{device: {compute: 75 GFLOP/s}, link: wifi}]}
server: {compute: 1 TFLOP/s, slots: 4}
variants:
  - {algorithm: ho-sfl}
  - {algorithm: ho-sfl, name: "ho-sfl, clients still", client_optimizer: {name: SGD, lr: 1.0e-12}}
  - {algorithm: splitfed-v1, client_optimizer: {lr: 0.1}, server_optimizer: {lr: 0.1}}
  - {algorithm: mu-splitfed, tau: 8, eta_g: 1.0}
  - {algorithm: frozen-client, server_optimizer: {lr: 0.1}}
stop: {rounds: 900, accuracy: 75%}
evaluate: {every: 10 rounds}
"""
FULL = {
    "seeds": [0, 1, 2],
    "latencies_ms": [1, 10, 50, 200, 1000],
    "rates_mbit": [1, 5, 20, 100, 1000],
    "rounds": 900,
}
QUICK = {"seeds": [0], "latencies_ms": [10, 1000], "rates_mbit": [1, 1000], "rounds": 40}
FASHION = [
    "workload.dataset={kind: fashion-mnist, validation: 10%, evaluate_on: validation, held_out_limit: 2000}",
    "variants[3].eta_g=0.3",
    "stop.accuracy=70%",
]


def study(
    seeds: list[int], latencies_ms: list[int], rates_mbit: list[int], rounds: int, changes: list[str]
) -> pd.DataFrame:
    """Return the time and rounds to the target (infinite if not reached) for every link and variant."""
    store = sflsim.MemoryStore()
    rows = []
    for latency_ms, rate_mbit in product(latencies_ms, rates_mbit):
        link = f"{{up: {rate_mbit} Mbit/s, down: {rate_mbit} Mbit/s, latency: {latency_ms} ms}}"
        own = [f"fleet.groups[0].link={link}", f"seeds={seeds}", f"stop.rounds={rounds}"]
        scenario = sflsim.parse_scenario(SCENARIO, overrides=[*changes, *own])
        run, target = sflsim.simulate(scenario, store=store), scenario.stop.accuracy
        for (variant, seed), curve in run.evaluations.groupby(["variant", "seed"], sort=False):
            last = curve.iloc[-1]
            reached = last["accuracy"] >= target
            rows.append(
                {
                    "target": target,
                    "latency_ms": latency_ms,
                    "rate_mbit": rate_mbit,
                    "variant": variant,
                    "seed": seed,
                    "time_s": last["time_s"] if reached else float("inf"),
                    "rounds": last["round"] if reached else float("inf"),
                    "s_per_round": last["time_s"] / last["round"],
                    "accuracy": last["accuracy"],
                    "bytes": last["uplink_bytes"] + last["downlink_bytes"],
                }
            )
        print(f"{latency_ms} ms, {rate_mbit} Mbit/s done", flush=True)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: HO-SFL's time over SplitFed V1's, per round and to the target."""
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    panels = (("s_per_round", "of a round"), ("time_s", f"to {table['target'].iloc[0]:.0%}"))
    for axes, (column, label) in zip(figure.subplots(1, 2), panels, strict=True):
        ratio = ratios(table, column)
        image = axes.imshow(ratio.clip(0, 2), cmap="RdBu_r", vmin=0, vmax=2, aspect="auto")
        axes.set_xticks(range(len(ratio.columns)), ratio.columns)
        axes.set_yticks(range(len(ratio.index)), ratio.index)
        axes.set(xlabel="link rate (Mbit/s)", ylabel="latency, one way (ms)")
        axes.set_title(f"time {label}: HO-SFL / SplitFed V1", fontsize=9)
        for row, column_number in product(range(len(ratio.index)), range(len(ratio.columns))):
            value = ratio.iloc[row, column_number]
            text = "-" if pd.isna(value) else f"{value:.2f}"
            axes.text(column_number, row, text, ha="center", va="center", fontsize=8)
        figure.colorbar(image, ax=axes)
    return figure


def ratios(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return HO-SFL's median over SplitFed V1's: a row for each latency, a column for each rate."""
    medians = table.groupby(["variant", "latency_ms", "rate_mbit"])[column].median()
    return (medians["ho-sfl"] / medians["splitfed-v1"]).unstack()


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
    name = "ho_sfl_on_the_clock_fashion" if arguments.fashion else "ho_sfl_on_the_clock"
    table.to_csv(arguments.out / f"{name}.csv", index=False)
    draw(table).savefig(arguments.out / f"{name}.png", dpi=200)
    by_link = table.groupby(["latency_ms", "rate_mbit", "variant"], sort=False)["time_s"].median().unstack()
    print(f"time to {table['target'].iloc[0]:.0%} (s), median over seeds:\n{by_link.round(1).to_string()}")
    print(f"rounds to it:\n{table.groupby('variant', sort=False)['rounds'].median().to_string()}")


if __name__ == "__main__":
    main()
