"""How few bits may be sent? Which precision is first on which link; when zeroth-order clients stop learning.

Two questions. First: everything that an algorithm sends is sent with fewer bits; which precision reaches
the accuracy that the uncompressed run ends with, less two points, first, on links from 100 kbit/s to 100
Mbit/s? Each precision is trained once; the links only change the clock. Costs are AlexNet's on CIFAR-10, as
in the quickstart; what is learned is Fashion-MNIST where it is there, else digits.

Second: MU-SplitFed's clients step along the difference of the losses at z+ and z-, which quantization may
make equal. The law is looked for in r = level / mean |z+ - z-| at the initial model, with bits, lam, P and
the network varied: the relative error of the slope (of loss differences with quantized against those with
exact activations), and after training on digits the accuracy, beside that of clients that stand still.

    python analysis/compression.py [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

import sflsim
from sflsim.learning.compression import Compression
from sflsim.learning.task import Task
from sflsim.learning.zeroth_order import two_sided
from sflsim.session import Options, Session

MARGIN = 0.02
LINKS = """
name: compression
workload:
  dataset: {dataset}
  model: {{kind: mlp, hidden: [64, 64]}}
  costs:
    {{client_forward: 358.6 MFLOP, client_backward: 660.6 MFLOP, server_forward: 4.111 GFLOP,
     server_backward: 8.221 GFLOP, activation: 512 KiB, labels: 256 byte, client_model: 77568 byte,
     server_model: 15397416 byte, client_saved: 11403264 byte, client_live: 7733248 byte,
     client_step: 14548992 byte}}
fleet: {{clients: 10, participants: 5, groups: [{{device: raspberry-pi-4, link: wifi}}]}}
server: {{compute: 100 GFLOP/s, slots: 4}}
variants: []
stop: {{rounds: 100}}
"""
ALGORITHMS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "splitfed-v1": (
        {"client_optimizer": {"lr": 0.1}, "server_optimizer": {"lr": 0.1}},
        ("activation", "gradient", "model"),
    ),
    "mu-splitfed": ({"tau": 8, "eta_g": 1.0}, ("activation", "model")),
    "ho-sfl": ({}, ("activation", "gradient")),
}
TOP_K = {"activation": {"kind": "top-k", "keep": "10%"}, "gradient": "none", "model": "int8"}
"""Gradients go at the places of the activation; a tenth of a model's weights would be none."""
LAW = """
name: compression-law
workload: {{model: {model}, cut: 1, batch_size: 32}}
fleet: {{clients: 5, groups: [{{device: raspberry-pi-4, link: wifi}}]}}
variants: []
stop: {{rounds: {rounds}}}
evaluate: {{every: {rounds} rounds}}
"""
MU = {"algorithm": "mu-splitfed", "tau": 4, "eta_c": 0.01, "eta_s": 0.01, "eta_g": 1.0}
MODELS = {"mlp": "{kind: mlp, hidden: [64, 64]}", "cnn": "{kind: cnn, channels: [8, 16]}"}
FULL = {
    "precisions": ["none", "fp16", "int8", "int4", "int3", "int2", "top-k"],
    "rates_mbit": [0.1, 1, 10, 100],
    "rounds": 120,
    "link_seeds": [0],
    "seeds": [0, 1],
    "bits": [8, 6, 5, 4, 3, 2],
    "models": ["mlp", "cnn"],
    "lams": [0.0005, 0.0015, 0.005, 0.015],
    "trained": [("mlp", 0.005, 8), ("mlp", 0.0005, 8), ("mlp", 0.005, 1)],
    "law_rounds": 60,
}
QUICK = {
    "precisions": ["none", "int4"],
    "rates_mbit": [0.1, 100],
    "rounds": 4,
    "link_seeds": [0],
    "seeds": [0],
    "bits": [8, 2],
    "models": ["mlp"],
    "lams": [0.005],
    "trained": [("mlp", 0.005, 1)],
    "law_rounds": 2,
}


def scenario(text: str, variants: list[dict[str, Any]], changes: list[str]) -> sflsim.Scenario:
    """Return the scenario with these variants."""
    return sflsim.parse_scenario(text, overrides=[f"variants={variants}", *changes])


def is_there(dataset: str) -> bool:
    """Tell whether a data set can be read here."""
    text = LINKS.format(dataset=dataset)
    try:
        Session(scenario(text, [{"algorithm": "splitfed-v1"}], []), Options()).materials.data()
    except sflsim.ScenarioError:
        return False
    return True


def links(
    dataset: str, precisions: list[str], rates_mbit: list[float], rounds: int, seeds: list[int]
) -> pd.DataFrame:
    """Return the time to the target for every algorithm, precision, link and seed."""
    store, rows = sflsim.MemoryStore(), []
    every = max(1, rounds // 15)
    for (algorithm, (settings, sends)), rate in product(ALGORITHMS.items(), rates_mbit):
        variants = []
        for precision in precisions:
            codecs = {kind: TOP_K[kind] if precision == "top-k" else precision for kind in sends}
            variants.append({"algorithm": algorithm, "name": precision, **settings, "compression": codecs})
        link = f"{{up: {rate} Mbit/s, down: {4 * rate} Mbit/s}}"
        changes = [f"fleet.groups[0].link={link}", f"stop.rounds={rounds}", f"evaluate.every={every} rounds"]
        run = sflsim.simulate(
            scenario(LINKS.format(dataset=dataset), variants, [*changes, f"seeds={seeds}"]), store=store
        )
        curves = run.evaluations
        for seed in seeds:
            own = curves[curves["seed"] == seed]
            ends = own.groupby("variant", sort=False)["accuracy"].last()
            target = ends["none"] - MARGIN
            for precision in precisions:
                curve = own[own["variant"] == precision]
                reached = curve[curve["accuracy"] >= target]
                rows.append(
                    {
                        "dataset": dataset,
                        "algorithm": algorithm,
                        "precision": precision,
                        "up_mbit_per_s": rate,
                        "seed": seed,
                        "target": target,
                        "accuracy": ends[precision],
                        "time_s": reached["time_s"].min(),
                        "bytes": (curve["uplink_bytes"] + curve["downlink_bytes"]).iloc[-1],
                    }
                )
    return pd.DataFrame(rows)


def ratios(task: Task, lam: float, bits: list[int], batches: int = 8) -> Iterator[dict[str, float]]:
    """Yield r and the relative error of the slope at the initial model, for each number of bits."""
    x_c, x_s = task.client.initial()[None].clone(), task.server.initial()[None]
    found: dict[int, list[tuple[float, float, float]]] = {number: [] for number in bits}
    for batch in range(batches):
        x, y = task.batch([(0, batch)])
        u = task.directions([("compression", batch)], task.client, "sphere")
        with torch.no_grad():
            plus, minus = two_sided(lambda x_c, x=x: task.activation(x_c, x), x_c, u, lam)
            exact = task.server_loss(x_s, plus, y) - task.server_loss(x_s, minus, y)
            for number in bits:
                coded = task.compressing(Compression.model_validate({"activation": f"int{number}"}))
                arrived = [coded.received(z, [(0, batch)]) for z in (plus, minus)]
                losses = [task.server_loss(x_s, z, y) for z in arrived]
                level = float(plus.max() - plus.min()) / (2**number - 1)
                r = level / float((plus - minus).abs().mean())
                found[number].append((r, float(losses[0] - losses[1] - exact), float(exact)))
    for number, rows in found.items():
        table = torch.tensor(rows, dtype=torch.float64)
        error = float(table[:, 1].square().mean().sqrt() / table[:, 2].square().mean().sqrt())
        yield {"bits": number, "r": float(table[:, 0].mean()), "slope_error": error}


def law(
    bits: list[int],
    models: list[str],
    lams: list[float],
    trained: list[tuple[str, float, int]],
    seeds: list[int],
    rounds: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return r and the slope's error for networks, lam and bits; and accuracies after training."""
    errors, accuracies, known = [], [], {}
    for model, lam in product(models, lams):
        text = LAW.format(model=MODELS[model], rounds=rounds)
        task = Session(scenario(text, [MU], []), Options()).materials.task(1, 0)
        for row in ratios(task, lam, bits):
            errors.append({"model": model, "lam": lam, **row})
            known[model, lam, row["bits"]] = row["r"]
    for model, lam, perturbations in trained:
        own = {**MU, "lam": lam, "perturbations": perturbations}
        codecs = {number: {"activation": f"int{number}"} for number in bits}
        variants = [{**own, "name": f"int{number}", "compression": one} for number, one in codecs.items()]
        variants += [{**own, "name": "none"}, {**own, "name": "clients still", "eta_c": 1e-12}]
        text = LAW.format(model=MODELS[model], rounds=rounds)
        run = sflsim.simulate(scenario(text, variants, [f"seeds={seeds}"]))
        ends = run.evaluations.groupby(["seed", "variant"], sort=False)["accuracy"].last()
        for (seed, variant), accuracy in ends.items():
            number = int(variant[3:]) if variant.startswith("int") else 0
            accuracies.append(
                {
                    "model": model,
                    "lam": lam,
                    "P": perturbations,
                    "sent": variant,
                    "r": known.get((model, lam, number), float("nan")),
                    "seed": seed,
                    "accuracy": accuracy,
                    "lost": ends[seed, "none"] - accuracy,
                }
            )
    return pd.DataFrame(errors), pd.DataFrame(accuracies)


def draw(by_link: pd.DataFrame, errors: pd.DataFrame, accuracies: pd.DataFrame) -> Figure:
    """Return the figure: time to the target over the link for each algorithm; both forms of the law."""
    algorithms = list(dict.fromkeys(by_link["algorithm"]))
    figure = Figure(figsize=(3.2 * (len(algorithms) + 1), 3.2), layout="constrained")
    axes = figure.subplots(1, len(algorithms) + 1)
    mean = by_link.groupby(["algorithm", "precision", "up_mbit_per_s"])["time_s"].mean()
    for one, algorithm in zip(axes, algorithms, strict=False):
        for precision, marker in zip(dict.fromkeys(by_link["precision"]), "os^Dv*P", strict=False):
            curve = mean.xs((algorithm, precision))
            one.plot(curve.index, curve / 60, marker=marker, markersize=4, label=precision)
        one.set(xscale="log", yscale="log", xlabel="uplink (Mbit/s)", title=algorithm)
    axes[0].set_ylabel("time to the target (min)")
    axes[0].legend(fontsize=6)
    last = axes[-1]
    for model, own in errors.groupby("model", sort=False):
        last.plot(own["r"], own["slope_error"], "o", markersize=3, label=f"error of the slope, {model}")
    lost = accuracies.dropna(subset=["r"]).groupby(["lam", "P", "r"])["lost"].mean().reset_index()
    last.plot(lost["r"], lost["lost"].clip(lower=1e-3), "x", color="black", label="accuracy lost")
    last.axvline(1.0, color="grey", linewidth=0.5)
    last.set(xscale="log", yscale="log", xlabel="r = level / mean |z+ - z-|", title="zeroth-order clients")
    last.legend(fontsize=6)
    return figure


def main() -> None:
    """Run both parts and write their tables and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small setting, for CI")
    parser.add_argument("--out", type=Path, default=Path("analysis/results"))
    arguments = parser.parse_args()
    of: dict[str, Any] = QUICK if arguments.quick else FULL
    dataset = "digits" if arguments.quick or not is_there("fashion-mnist") else "fashion-mnist"
    by_link = links(dataset, of["precisions"], of["rates_mbit"], of["rounds"], of["link_seeds"])
    errors, accuracies = law(
        of["bits"], of["models"], of["lams"], of["trained"], of["seeds"], of["law_rounds"]
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    by_link.to_csv(arguments.out / "compression.csv", index=False)
    errors.to_csv(arguments.out / "compression_slopes.csv", index=False)
    accuracies.to_csv(arguments.out / "compression_accuracies.csv", index=False)
    draw(by_link, errors, accuracies).savefig(arguments.out / "compression.png", dpi=200)
    wide = by_link.pivot_table(
        index=["algorithm", "precision"], columns="up_mbit_per_s", values="time_s", sort=False, dropna=False
    )
    final = by_link.groupby(["algorithm", "precision"], sort=False)[["accuracy", "target"]].mean()
    print(f"{dataset}: time to the target in min, final accuracy, mean over seeds")
    print((wide / 60).round(1).join(final.round(3)).to_string())
    print(errors.round({"r": 2, "slope_error": 3}).to_string(index=False))
    told = accuracies.groupby(["model", "lam", "P", "sent"], sort=False)[["r", "accuracy", "lost"]].mean()
    print(told.round(3).to_string())


if __name__ == "__main__":
    main()
