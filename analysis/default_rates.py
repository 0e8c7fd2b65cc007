"""Does any algorithm diverge with its defaults?

Every algorithm, with nothing set but tau (1 to 8 and adaptive), trains the bundled mlp and cnn on digits
and on Fashion-MNIST for 300 rounds; MU-SplitFed (tau 1 and 4), HO-SFL and GAS train AlexNet on Fashion-MNIST
for 100. Ten devices share the data; where a whole local epoch of a convolutional network on a tenth of
Fashion-MNIST would take hours, a hundred do.
The table says how each ended, and its loss on the held-out split, which chose nothing here. FedLoRA is
left out: it needs a model with adapters. One row is written as soon as it is known.

    python analysis/default_rates.py [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import sflsim
from sflsim.registry import algorithms

MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "hidden": [64, 64]},
    "cnn": {"kind": "cnn"},
    "alexnet": {"kind": "alexnet"},
}
TAUS = (1, 2, 3, 4, 5, 6, 7, 8, "adaptive")
EVERYTHING = [name for name in algorithms() if name != "fedlora"]
PAPERS = ["mu-splitfed", "ho-sfl"]  # whose papers train AlexNet, as GAS's does
WHOLE_MODELS = ["fedavg", "fedasync", "fedbuff"]
OTHERS = [name for name in EVERYTHING if name not in WHOLE_MODELS]

Setting = tuple[str, int, str, int, int, list[str], tuple[int | str, ...]]
SETTINGS: list[Setting] = [  # data set, devices, network, cut, rounds, algorithms, tau of MU-SplitFed
    ("digits", 10, "mlp", 1, 300, EVERYTHING, TAUS),
    ("digits", 10, "cnn", 1, 300, EVERYTHING, TAUS),
    ("fashion-mnist", 10, "mlp", 1, 300, EVERYTHING, TAUS),
    ("fashion-mnist", 10, "cnn", 1, 300, OTHERS, TAUS),
    ("fashion-mnist", 100, "cnn", 1, 300, WHOLE_MODELS, ()),
    ("fashion-mnist", 10, "alexnet", 2, 100, PAPERS, (1, 4)),
    ("fashion-mnist", 100, "alexnet", 2, 100, ["gas"], ()),
]
QUICK: list[Setting] = [("digits", 10, "mlp", 1, 5, ["mu-splitfed", "gas"], (1, 4, "adaptive"))]


def scenario(
    dataset: str, clients: int, model: str, cut: int, rounds: int, variant: dict[str, Any]
) -> sflsim.Scenario:
    """Return devices of which five take part, with exponential stragglers of 2 s."""
    content = {
        "name": "default-rates",
        "workload": {
            "dataset": dataset,
            "model": MODELS[model],
            "cut": cut,
            "batch_size": 32,
        },
        "fleet": {
            "clients": clients,
            "participants": 5,
            "groups": [{"share": "100%", "device": "raspberry-pi-4", "link": "wifi"}],
            "straggler": {"kind": "exponential", "mean": "2 s"},
        },
        "server": {"compute": "10 TFLOP/s", "slots": 4},
        "variants": [variant],
        "stop": {"rounds": rounds},
        "evaluate": {"every": f"{max(1, rounds // 4)} rounds"},
    }
    return sflsim.parse_scenario(yaml.safe_dump(content))


def variants(names: list[str], taus: tuple[int | str, ...]) -> list[dict[str, Any]]:
    """Return each algorithm with nothing set; MU-SplitFed once per tau."""
    return [
        {"algorithm": name} | ({"tau": tau} if tau else {})
        for name in names
        for tau in (taus if name == "mu-splitfed" else [None])
    ]


def ended(
    dataset: str, clients: int, model: str, cut: int, rounds: int, variant: dict[str, Any]
) -> dict[str, Any]:
    """Train one variant; return a row: its status, the first, largest and last loss, the last accuracy."""
    run = sflsim.simulate(scenario(dataset, clients, model, cut, rounds, variant))
    loss = run.evaluations["loss"]
    return {
        "dataset": dataset,
        "clients": clients,
        "model": model,
        "algorithm": variant["algorithm"],
        "tau": variant.get("tau", ""),
        "rounds": int(run.evaluations["round"].iloc[-1]),
        "status": run.runs["status"].iloc[0],
        "first_loss": loss.iloc[0],
        "largest_loss": loss.max() if loss.map(math.isfinite).all() else math.inf,
        "last_loss": loss.iloc[-1],
        "last_accuracy": run.evaluations["accuracy"].iloc[-1],
    }


def study(settings: list[Setting], file: Path) -> pd.DataFrame:
    """Return one row per training, written to `file` as they come; rows that it has are not made again."""
    rows: list[dict[Any, Any]] = (
        pd.read_csv(file, dtype={"tau": str}, keep_default_na=False).to_dict("records")
        if file.exists()
        else []
    )
    known = {(row["dataset"], row["model"], row["algorithm"], str(row["tau"])) for row in rows}
    for dataset, clients, model, cut, rounds, names, taus in settings:
        for variant in variants(names, taus):
            if (dataset, model, variant["algorithm"], str(variant.get("tau", ""))) in known:
                continue
            rows.append(ended(dataset, clients, model, cut, rounds, variant))
            pd.DataFrame(rows).to_csv(file, index=False)
            print(*rows[-1].values(), flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Print and write the table, and say what diverged."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="five rounds of two algorithms")
    parser.add_argument("--out", type=Path, default=Path("analysis/results"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = study(QUICK if arguments.quick else SETTINGS, arguments.out / "default_rates.csv")
    print(table.to_string(index=False, float_format="{:.3f}".format))
    diverged = table[table["status"] != "completed"]
    print(f"{len(diverged)} of {len(table)} trainings diverged.")


if __name__ == "__main__":
    main()
