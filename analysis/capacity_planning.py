"""Capacity planning: 40 tablets of a hospital group on Wi-Fi, and 10,000 phones on 4G. What do they need?

Hospital: a network for 512 x 512 radiographs is trained overnight on tablets of 8 GB, of which 6 GB are
free. Which algorithm, cut and tau are done within ten hours, and does a bigger server help? A `plan:`
answers it: it times every combination and trains only what can still win; then each algorithm alone,
so that the best of each can be seen.

Phones: a network for 32 x 32 images is trained once a night. How many of 10,000 phones should a round
ask, on which link, and what does that cost a phone in bytes a month? No data set here has samples for
10,000 clients, so the rounds to the target are learned on 100 phones with as many participants per
round, and the clock alone then runs 10,000 phones for that many rounds. A round's learning depends on
who takes part in it, not on who does not; what it leaves out is that 100 phones come back sooner with
the same data, so the rounds are a lower bound where data differ from phone to phone.

Costs are those of the networks named (a 3x3 convolution per block, see COSTS); what is learned: digits,
by a perceptron with as many blocks and a narrow first layer. frozen-client is the control.

    python analysis/capacity_planning.py [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sflsim

FREE_BYTES = 6e9
# CNN with 64, 128, 256 channels and a dense layer of 128, 1 x 512 x 512, batch 32, as sflsim derives them:
# by cut, in FLOP and byte.
COSTS = {
    1: {"client_forward": 9.664e9, "client_backward": 9.664e9, "server_forward": 627.1e9,
        "server_backward": 1254e9, "activation": 536870912, "client_model": 2560,
        "server_model": 538352680, "client_saved": 3254779904, "auxiliary_forward": 2.684e9,
        "auxiliary_backward": 5.369e9, "auxiliary_model": 167772200},
    2: {"client_forward": 318.9e9, "client_backward": 628.1e9, "server_forward": 317.8e9,
        "server_backward": 635.7e9, "activation": 268435456, "client_model": 297984,
        "server_model": 538057256, "client_saved": 5402263552, "auxiliary_forward": 1.342e9,
        "auxiliary_backward": 2.684e9, "auxiliary_model": 83886120},
    3: {"client_forward": 628.1e9, "client_backward": 1247e9, "server_forward": 8.59e9,
        "server_backward": 17.18e9, "activation": 134217728, "client_model": 1478656,
        "server_model": 536876584, "client_saved": 6476005376, "auxiliary_forward": 0.671e9,
        "auxiliary_backward": 1.342e9, "auxiliary_model": 41943080},
}  # fmt: skip
EVERY_CUT = {"labels": 256, "client_live": 4328521728, "whole_saved": 6610239488, "whole_live": 4328521728}
# The worst moment of a training step, by batch: in the first block's backward pass, wherever the cut is.
STEP = {32: {"client_step": 7549747200, "whole_step": 7818190888},
        16: {"client_step": 3774873600, "whole_step": 4177533736}}  # fmt: skip
MODELS = {"client_model", "server_model", "auxiliary_model"}
"""Figures that no batch changes."""

HOSPITAL = """
name: hospital-tablets
fleet:
  clients: 40
  participants: 10
  groups:
    - name: tablet # a fast phone's processor; of 8 GB of memory two are the system's
      device: {compute: 5.77 GFLOP/s, memory: 6 GB, power: {idle: 0.5 W, compute: 7.5 W}}
      link: wifi
  straggler: {kind: exponential, mean: 5 s}
server: {compute: 2 TFLOP/s, slots: 1, link: {up: 1 Gbit/s, down: 1 Gbit/s}}
variants:
  - {algorithm: splitfed-v1, local_iterations: 5, client_optimizer: {lr: 0.1}, server_optimizer: {lr: 0.1}}
  - {algorithm: cse-fsl, client_optimizer: {lr: 0.1}, server_optimizer: {lr: 0.1}}
  - {algorithm: mu-splitfed, tau: [4, 16], eta_g: 1.0}
  - {algorithm: fedavg, local_iterations: 5, optimizer: {lr: 0.1}}
  - {algorithm: frozen-client, local_iterations: 5, server_optimizer: {lr: 0.1}}
seeds: [0, 1]
stop: {rounds: 300, accuracy: 80%}
evaluate: {every: 5 rounds}
plan:
  decisions: {server.compute: [0.5 TFLOP/s, 2 TFLOP/s, 8 TFLOP/s]}
  objectives: [time, cost]
  constraints: {deadline: 10 h}
  prices: {currency: EUR, tflops_hour: 0.05} # a rented card of 20 TFLOP/s for 1 EUR/h
"""
# CNN with 32, 64, 64 channels and a dense layer of 128, 3 x 32 x 32, 62 classes, batch 16, cut 2.
PHONES = """
name: phones
workload:
  model: {kind: mlp, hidden: [16, 64]}
  batch_size: 16
  costs: {client_forward: 179.3 MFLOP, client_backward: 330.3 MFLOP, server_forward: 79.95 MFLOP,
          server_backward: 159.9 MFLOP, activation: 256 KiB, labels: 128 byte, client_model: 77.57 kB,
          server_model: 704.5 kB, client_saved: 5.439 MB, client_live: 4.391 MB, whole_saved: 6.169 MB,
          whole_live: 4.391 MB, client_step: 7.537 MB, whole_step: 7.725 MB,
          auxiliary_forward: 8.126 MFLOP, auxiliary_backward: 16.25 MFLOP,
          auxiliary_model: 1.016 MB}
fleet:
  clients: 100
  participants: 10
  groups: [{name: phone, device: phone-population, link: phones-in-use}]
  straggler: {kind: exponential, mean: 2 s}
server: {compute: 2 TFLOP/s, slots: 4, link: {up: 1 Gbit/s, down: 1 Gbit/s}}
variants:
  - {algorithm: splitfed-v1, local_iterations: 5, client_optimizer: {lr: 0.1}, server_optimizer: {lr: 0.1}}
  - {algorithm: cse-fsl, client_optimizer: {lr: 0.1}, server_optimizer: {lr: 0.1}}
  - {algorithm: fedavg, local_iterations: 5, optimizer: {lr: 0.1}}
  - {algorithm: frozen-client, local_iterations: 5, server_optimizer: {lr: 0.1}}
seeds: [0, 1]
stop: {rounds: 300, accuracy: 85%}
evaluate: {every: 5 rounds}
"""
LINKS = ["4g-congested", "4g-cz", "phones-in-use", "5g-global"]
NIGHTS = 30
FULL = {
    "workloads": [(1, 32), (2, 32), (3, 32), (1, 16)],
    "participants": [5, 10, 20, 50],
    "links": LINKS,
    "clients": 10_000,
    "changes": [],
}
QUICK = {
    "workloads": [(1, 16)],
    "participants": [5],
    "links": LINKS[:2],
    "clients": 1000,
    "changes": [
        "seeds=[0]",
        "stop={rounds: 40, accuracy: 15%}",
        "variants=[splitfed-v1]",
        "fleet.participants=4",
    ],
}


def workload(cut: int, batch_size: int = 32) -> dict[str, object]:
    """Return the hospital's workload: where it is cut, its batch, and what that costs."""
    figures = COSTS[cut] | EVERY_CUT
    figures = {name: value * (1 if name in MODELS else batch_size / 32) for name, value in figures.items()}
    costs = {
        name: f"{value} {'FLOP' if name.endswith('ward') else 'byte'}"
        for name, value in (figures | STEP[batch_size]).items()
    }
    model = {"kind": "mlp", "hidden": [16, 64, 64]}
    return {"cut": cut, "batch_size": batch_size, "model": model, "costs": costs}


def hospital(workloads: list[tuple[int, int]], changes: list[str]) -> tuple[pd.DataFrame, str]:
    """Return the points of the plan, and its explanation.

    The plan over all variants trains only what can win. One plan for each algorithm follows, so that
    each is trained where it is at its best; what is known already is not trained again.
    """
    choices = [workload(*one) for one in workloads]
    decided = [f"workload={choices[0]}", f"plan.decisions.workload={choices}"]
    scenario = sflsim.parse_scenario(HOSPITAL, overrides=[*decided, *changes])
    variants: dict[str, list[object]] = {}
    for variant in scenario.variants:
        variants.setdefault(variant.algorithm, []).append(variant.model_dump(mode="json", exclude_none=True))
    with tempfile.TemporaryDirectory() as folder:
        plans = [sflsim.plan(scenario, cache=Path(folder))]
        for own in variants.values() if len(variants) > 1 else ():
            only = sflsim.parse_scenario(HOSPITAL, overrides=[*decided, *changes, f"variants={own}"])
            plans.append(sflsim.plan(only, cache=Path(folder)))
    frame = pd.concat([plan.points for plan in (plans[1:] or plans)], ignore_index=True)
    chosen = frame["workload"].map(dict(zip(plans[0].points["workload"].unique(), workloads, strict=True)))
    table = pd.DataFrame(
        {
            "variant": frame["variant"],
            "cut": chosen.str[0],
            "batch_size": chosen.str[1],
            "tflop_per_s": frame["server.compute"].str.split().str[0].astype(float),
            **{name: frame[name] for name in ("rounds", "time_s", "cost", "violated", "exact", "feasible")},
            "memory_bytes": frame["memory_share"] * FREE_BYTES,
        }
    )
    return table, plans[0].explanation


def phones(participants: list[int], links: list[str], clients: int, changes: list[str]) -> pd.DataFrame:
    """Return time and bytes to the target on the large fleet: a row per variant, participants, link, seed."""
    small = sflsim.parse_scenario(PHONES, overrides=changes)
    learned = sflsim.sweep(small, {"fleet.participants": participants}).table
    rows = []
    for one in learned.itertuples():
        if not one.reached:
            continue
        asked = participants[one.point]
        chosen = next(number for number, own in enumerate(small.variants) if own.name == one.variant)
        variant = small.variants[chosen].model_dump(mode="json", exclude_none=True)
        for link in links:
            large = sflsim.parse_scenario(
                PHONES,
                overrides=[
                    f"fleet.clients={clients}",
                    f"fleet.participants={asked}",
                    f"fleet.groups[0].link={link}",
                    f"variants=[{variant}]",
                    f"stop={{rounds: {one.rounds:.0f}}}",
                    f"evaluate.every={one.rounds:.0f} rounds",
                    f"seeds=[{one.seed}]",
                ],
            )
            run = sflsim.simulate(large, timing_only=True)
            sent = run.clients["uplink_bytes"] + run.clients["downlink_bytes"]
            rows.append(
                {
                    "variant": one.variant,
                    "participants": asked,
                    "link": link,
                    "seed": one.seed,
                    "rounds": one.rounds,
                    "time_s": run.runs["time_s"].iloc[0],
                    "bytes_per_participation": sent.sum() / (one.rounds * asked),
                    "bytes_per_phone_and_month": NIGHTS * sent.sum() / clients,
                    "bytes_busiest_in_a_night": sent.max(),
                }
            )
    return pd.DataFrame(rows)


def draw(tablets: pd.DataFrame, fleet: pd.DataFrame) -> Figure:
    """Return the figure: above the hospital's night, below the phones'."""
    figure = Figure(figsize=(7.6, 5.8), layout="constrained")
    (night, server), (link, traffic) = figure.subplots(2, 2)
    _night(night, tablets)
    _server(server, tablets)
    best = _best(fleet)
    time_s = fleet[fleet["variant"] == best].groupby(["link", "participants"], sort=False)["time_s"]
    _lines(link, time_s.median().unstack(0) / 60, f"time to target (min), {best}", "10,000 phones: link")
    link.set_ylim(bottom=0)
    month = fleet.groupby(["variant", "participants"], sort=False)["bytes_per_phone_and_month"]
    megabytes = month.median().unstack(0) / 1e6
    _lines(traffic, megabytes, "MB per phone and month", "10,000 phones: one training a night")
    for axes in (night, server, link, traffic):
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6)
    return figure


def _best(fleet: pd.DataFrame) -> str:
    """Return the variant with the least time, the control left out."""
    candidates = fleet[fleet["variant"] != "frozen-client"]
    times = candidates.groupby(["variant", "participants", "link"])["time_s"].median()
    return str(times.groupby("variant").min().idxmin())


def _night(axes: Axes, table: pd.DataFrame) -> None:
    """Draw what fits into the memory and into the night: the fastest point by variant, cut and batch."""
    shown = table[table["time_s"] > 0]
    names = {
        one: f"{one[0]}\nbatch {one[1]}"
        for one in shown[["cut", "batch_size"]].drop_duplicates().itertuples(index=False, name=None)
    }
    places = {one: number for number, one in enumerate(names)}
    for variant, own in shown.groupby("variant", sort=False):
        fastest = own.sort_values("time_s").groupby(["cut", "batch_size"]).first()
        at = [places[one] for one in fastest.index]
        axes.plot(at, fastest["time_s"] / 3600, linestyle="none", marker=".", label=variant)
        for place, (_, row) in zip(at, fastest.iterrows(), strict=True):
            marker = "o" if row["exact"] else "^"
            marker = "v" if "target" in row["violated"] else marker
            marker = "x" if "device_memory" in row["violated"] else marker
            axes.plot(place, row["time_s"] / 3600, marker=marker, color=axes.lines[-1].get_color())
    axes.axhline(10, color="black", linestyle="--", linewidth=0.8)
    axes.set(xlabel="cut (blocks on the tablet)", ylabel="time to target (h)", yscale="log")
    axes.set_xticks(range(len(names)), list(names.values()))
    axes.set_title("40 tablets: o reached, ^ at least,\nv not reached, x too large")


def _server(axes: Axes, table: pd.DataFrame) -> None:
    """Draw what a bigger server buys at cut 1; a time not trained to its end is the least it can be."""
    fits = table[(table["cut"] == 1) & ~table["violated"].str.contains("memory|target")]
    fits = fits.assign(line=fits["variant"] + ", batch " + fits["batch_size"].astype(str))
    times = fits.pivot_table(index="tflop_per_s", columns="line", values="time_s", sort=False) / 3600
    _lines(axes, times, "time to target (h)", "40 tablets: does a bigger server help? (cut 1)")
    axes.set(xlabel="server (TFLOP/s)", yscale="log")


def _lines(axes: Axes, table: pd.DataFrame, what: str, title: str) -> None:
    """Draw a line for each column over the index, on a logarithmic axis that shows the index's values."""
    for name in table:
        axes.plot(table.index, table[name], marker="o", label=name)
    axes.set(xlabel="phones per round", ylabel=what, title=title, xscale="log")
    axes.set_xticks(table.index, [f"{value:g}" for value in table.index])
    axes.minorticks_off()


def main() -> None:
    """Run the study and write its table and figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small setting, for CI")
    parser.add_argument("--out", type=Path, default=Path("analysis/results"))
    arguments = parser.parse_args()
    settings = QUICK if arguments.quick else FULL
    tablets, explanation = hospital(settings["workloads"], settings["changes"])
    print(explanation, flush=True)
    fleet = phones(settings["participants"], settings["links"], settings["clients"], settings["changes"])
    arguments.out.mkdir(parents=True, exist_ok=True)
    both = pd.concat([tablets.assign(fleet="tablets"), fleet.assign(fleet="phones")], ignore_index=True)
    both.to_csv(arguments.out / "capacity_planning.csv", index=False)
    draw(tablets, fleet).savefig(arguments.out / "capacity_planning.png", dpi=200)
    by_link = fleet.groupby(["variant", "participants", "link"], sort=False)["time_s"].median().unstack()
    print(f"\nphones, minutes to the target, median over seeds:\n{(by_link / 60).round(1).to_string()}")
    month = fleet.groupby(["variant", "participants"], sort=False)
    names = ["rounds", "bytes_per_phone_and_month", "bytes_busiest_in_a_night"]
    figures = (month[names].median() / [1, 1e6, 1e6]).round(2)
    print(f"rounds; MB per phone and month (mean); MB of the busiest in a night:\n{figures.to_string()}")


if __name__ == "__main__":
    main()
