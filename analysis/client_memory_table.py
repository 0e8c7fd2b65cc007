"""Where do 8.02, 5.64 and 1.05 GB of client memory come from?

The MU-SplitFed paper (arXiv 2510.21155) reports the peak memory of a client that fine-tunes OPT-1.3B on
SST-2: FedAvg 8.02 GB, FedLoRA 5.64 GB, MU-SplitFed 1.05 GB. Precision, batch, length of the texts, cut and
when gradients are freed are not stated. Here all three are computed without weights or data, over those
settings, and the settings under which they agree best with the paper are named.

    python analysis/client_memory_table.py [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import itertools
from functools import cache
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import sflsim

REPORTED_GB = {"fedavg": 8.02, "fedlora": 5.64, "mu-splitfed": 1.05}
OPT_1_3B = (
    "{model_type: opt, hidden_size: 2048, num_hidden_layers: 24, num_attention_heads: 32, ffn_dim: 8192, "
    "word_embed_proj_dim: 2048, vocab_size: 50272, max_position_embeddings: 2048}"
)
SCENARIO = f"""
name: client-memory
workload:
  dataset: {{kind: sst-2, max_length: 64}}
  model: {{kind: transformer, config: {OPT_1_3B}}}
  cut: layer-2
  batch_size: 32
fleet: {{clients: 10, groups: [{{device: {{compute: 1 TFLOP/s}}}}]}}
variants: [fedavg, mu-splitfed]
stop: {{rounds: 1}}
"""
ADAPTED = ["workload.model.adapters={rank: 8, alpha: 16}", "variants=[fedlora]"]
LENGTHS = (64, 128)
CUTS = (2, 8)
BATCH_SIZE = 32  # the paper's, stated for its vision models
PRECISION = "fp16"  # in fp32 parameters and gradients alone take 10.5 GB


@cache
def needs(length: int, cuts: tuple[int, ...]) -> pd.DataFrame:
    """Return the peak of a client in GB for texts of `length` tokens: by algorithm, cut and gradients."""
    tables = []
    for changes, at in ((["variants=[fedavg, mu-splitfed]"], cuts), (ADAPTED, cuts[:1])):
        overrides = [f"workload.dataset.max_length={length}", *changes]
        scenario = sflsim.parse_scenario(SCENARIO, overrides=overrides)
        tables.append(sflsim.memory(scenario, cuts=at, precision=PRECISION, batch_size=BATCH_SIZE).needs)
    found = pd.concat(tables, ignore_index=True)
    freed = found.assign(gradients="freed", gb=found["client_bytes"] / 1e9)
    kept = found.assign(gradients="kept", gb=found["client_kept_bytes"] / 1e9)
    return pd.concat([freed, kept]).assign(length=length)[["algorithm", "cut", "length", "gradients", "gb"]]


def study(lengths: list[int], cuts: list[int]) -> pd.DataFrame:
    """Return one row per setting: the three figures, and the largest relative distance from the paper's.

    All cuts are tried with the first length, with the others the first cut alone: what a client holds
    in a forward pass does not depend on the cut, and its parameters not on the length.
    """
    rows = []
    for length, gradients in itertools.product(lengths, ("freed", "kept")):
        at = cuts if length == lengths[0] else cuts[:1]
        here = needs(length, tuple(at))
        here = here[here["gradients"] == gradients]
        whole = here[here["cut"] == 0].set_index("algorithm")["gb"]
        for cut, client in here[here["cut"] > 0].groupby("cut")["gb"]:
            figures = {**whole, "mu-splitfed": client.iloc[0]}
            off = max(abs(figures[name] / reported - 1) for name, reported in REPORTED_GB.items())
            row = {"length": length, "gradients": gradients, "cut": cut, **figures}
            rows.append({**row, "largest_error": off})
    return pd.DataFrame(rows).sort_values("largest_error", ignore_index=True)


def verdict(table: pd.DataFrame) -> str:
    """Return what the best setting is, in a sentence."""
    best = table.iloc[0]
    figures = ", ".join(f"{name} {best[name]:.2f} GB (paper {gb})" for name, gb in REPORTED_GB.items())
    return (
        f"Closest: {PRECISION}, batch {BATCH_SIZE}, {best['length']} tokens, cut after layer {best['cut']}, "
        f"gradients {best['gradients']}: {figures}; at most {100 * best['largest_error']:.0f} % off."
    )


def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: the paper's three figures and those of every setting, the closest in colour."""
    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    axes = figure.subplots()
    places = range(len(REPORTED_GB))
    for rank, row in table[::-1].iterrows():
        closest = rank == 0
        label = f"{row['length']} tokens, cut {row['cut']}, gradients {row['gradients']}"
        axes.plot(
            places, [row[name] for name in REPORTED_GB], "o", ms=7 if closest else 4,
            color="#0072B2" if closest else "#BBBBBB", label=f"closest: {label}" if closest else None,
        )  # fmt: skip
    axes.plot(places, list(REPORTED_GB.values()), "_", ms=28, mew=2, color="#D55E00", label="paper")
    axes.set_xticks(places, list(REPORTED_GB))
    axes.set(ylabel="client memory (GB)", ylim=(0, None), xlim=(-0.5, 2.5))
    axes.legend(fontsize=8)
    return figure


def main() -> None:
    """Print the table and the verdict, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="texts of one length alone")
    parser.add_argument("--out", type=Path, default=Path("analysis/results"))
    arguments = parser.parse_args()
    table = study(list(LENGTHS[:1] if arguments.quick else LENGTHS), list(CUTS))
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.out / "client_memory_table.csv", index=False)
    draw(table).savefig(arguments.out / "client_memory_table.png", dpi=200)
    print(table.to_string(index=False, float_format="{:.3f}".format))
    print(verdict(table))


if __name__ == "__main__":
    main()
