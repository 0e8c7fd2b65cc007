"""Are tau server steps worth more than one step that is tau times larger?

MU-SplitFed (arXiv 2510.21155) takes tau small zeroth-order steps where SplitFed takes one. A sceptic
would take one step of tau times the learning rate instead, at 1/tau of the server's work, or
average tau directions and take one large step, at the same work. Here all three meet at equal server
FLOP: accuracy against what the server has computed, and against rounds.

With `--fashion` the real Fashion-MNIST is learned in place of digits; a tenth of its training images, which
is held out, measures the accuracy.

    python analysis/equal_compute.py [--quick] [--fashion] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import sflsim

TAU = 8
ETA_S = 0.01
ROUNDS = 200
SCENARIO = f"""
name: equal-compute
workload: {{model: {{kind: mlp, hidden: [64, 64]}}}}
fleet: {{clients: 10, participants: 5, groups: [{{device: raspberry-pi-4, link: wifi}}]}}
server: {{compute: 1 GFLOP/s, slots: 5}}
variants: []
stop: {{rounds: {ROUNDS}}}
evaluate: {{every: 10 rounds}}
"""
# name, settings, rounds at equal server FLOP relative to the first (its rounds do TAU steps and a scalar)
FASHION = (
    "workload.dataset={kind: fashion-mnist, validation: 10%, evaluate_on: validation, held_out_limit: 2000}"
)
VARIANTS = [
    (f"{TAU} steps", {"tau": TAU}, 1.0),
    (f"1 step, {TAU}x larger", {"tau": 1, "eta_s": ETA_S * TAU}, (TAU + 1) / 2),
    ("1 step", {"tau": 1}, (TAU + 1) / 2),
    (
        f"1 step of {TAU} directions, {TAU}x larger",
        {"tau": 1, "eta_s": ETA_S * TAU, "perturbations": TAU},
        (TAU + 1) / (2 * TAU),
    ),
]


def study(seeds: list[int], rounds: int, fashion: bool) -> pd.DataFrame:
    """Return the learning curves of all variants, each run to about the same server work."""
    curves = []
    for name, settings, factor in VARIANTS:
        fields = {
            "algorithm": "mu-splitfed",
            "name": name,
            "eta_g": 0.3 if fashion else 1.0,
            "eta_s": ETA_S,
            **settings,
        }
        text = ", ".join(f"{key}: {value!r}" for key, value in fields.items())
        changes = [f"variants=[{{{text}}}]", f"seeds={seeds}", f"stop.rounds={round(rounds * factor)}"]
        changes += [FASHION] if fashion else []
        curves.append(sflsim.simulate(sflsim.parse_scenario(SCENARIO, overrides=changes)).evaluations)
    table = pd.concat(curves, ignore_index=True)
    return table.assign(server_gflop=table["server_busy_s"])  # the server computes 1 GFLOP/s


def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: mean accuracy over seeds against server work, and against rounds."""
    figure = Figure(figsize=(7.0, 3.0), layout="constrained")
    panels = (("server_gflop", "server work (GFLOP)"), ("round", "rounds"))
    for axes, (column, label) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        for name, colour in zip(
            dict.fromkeys(table["variant"]), ("#56B4E9", "#D55E00", "#009E73", "#CC79A7"), strict=True
        ):
            curve = (
                table[table["variant"] == name]
                .groupby("round")[["accuracy", "server_gflop"]]
                .mean()
                .reset_index()
            )
            axes.plot(curve[column], 100 * curve["accuracy"], color=colour, label=name)
        axes.set(xlabel=label)
    figure.axes[0].set_ylabel("test accuracy (%)")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8
    )
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
    seeds, rounds = ([0], 20) if arguments.quick else ([0, 1, 2], ROUNDS)
    table = study(seeds, 5 * rounds if arguments.fashion else rounds, arguments.fashion)
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "equal_compute_fashion" if arguments.fashion else "equal_compute"
    table.to_csv(arguments.out / f"{name}.csv", index=False)
    draw(table).savefig(arguments.out / f"{name}.png", dpi=200)
    last = table.groupby(["variant", "seed"], sort=False).last()
    columns = ["round", "step", "server_gflop", "accuracy", "loss"]
    print(last.groupby("variant", sort=False)[columns].mean().round(3).to_string())


if __name__ == "__main__":
    main()
