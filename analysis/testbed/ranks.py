"""In which order do algorithms reach a target accuracy, for real and simulated?

Three fleets of four clients: all alike, two of them with slow devices, two of them with slow links. Rates and
rounds are chosen so that all reach the target within some seconds, not so that any does well.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import ceil, inf
from typing import Any

import pandas as pd
from scipy.stats import kendalltau

import sflsim
from sflsim.learning.graph.store import MemoryStore
from testbed.comparison import beside
from testbed.prediction import SERVER_SLOWDOWN, SLOWDOWNS, calibrated, pooled, predicted
from testbed.runner import run_testbed

TARGET = 0.5
MOST_ROUNDS = 60
MARGIN = 1.2
"""For real, times the simulated number of rounds: it may be more where the order of arrival differs."""
FLEETS = {
    "even": {"near": 4},
    "slow devices": {"near": 2, "weak": 2},
    "slow links": {"near": 2, "far": 2},
}
"""How many clients of each group there are."""
LINKS = {
    "near": "{up: 24 Mbit/s, down: 32 Mbit/s, latency: 10 ms}",
    "weak": "{up: 24 Mbit/s, down: 32 Mbit/s, latency: 10 ms}",
    "far": "{up: 12 Mbit/s, down: 16 Mbit/s, latency: 40 ms}",
}
WORKLOAD = "{model: {kind: cnn, channels: [32, 32]}, cut: 2, batch_size: 256}"
ZEROTH_ORDER = "eta_g: 1.0, perturbations: 2, eta_s: 0.02, eta_c: 0.03"
ADAMW = "{name: AdamW, lr: 0.001}"
VARIANTS = (
    "{algorithm: splitfed-v1, local_iterations: 2}",
    "{algorithm: splitfed-v2, local_iterations: 2}",
    f"{{algorithm: mu-splitfed, tau: 8, {ZEROTH_ORDER}}}",
    f"{{algorithm: mu-splitfed, name: mu-splitfed adaptive, tau: adaptive, tau_max: 16, {ZEROTH_ORDER}}}",
    f"{{algorithm: ho-sfl, perturbations: 2, client_optimizer: {ADAMW}, server_optimizer: {ADAMW}}}",
    "{algorithm: cse-fsl, local_iterations: 4, q: 2}",
    "{algorithm: fedavg, local_iterations: 4}",
    "{algorithm: gas, local_iterations: 4, q_s: 4, q_c: 4}",
    "{algorithm: fedbuff, local_iterations: 4, b: 4}",
)


def scenario_of(fleet: str, variant: str) -> sflsim.Scenario:
    """Return the scenario of one variant on one fleet, which stops at the target."""
    groups = [
        f"{{name: {name}, count: {count}, device: {{compute: 1 GFLOP/s}}, link: {LINKS[name]}}}"
        for name, count in FLEETS[fleet].items()
    ]
    return sflsim.parse_scenario(
        f"""
name: ranks
seeds: [0]
workload: {WORKLOAD}
fleet: {{clients: 4, groups: [{", ".join(groups)}]}}
server: {{compute: 1 GFLOP/s, slots: 1}}
variants: [{variant}]
stop: {{rounds: {MOST_ROUNDS}, accuracy: {TARGET}}}
evaluate: {{every: 1 round}}
"""
    )


def reached(evaluations: pd.DataFrame) -> tuple[float, int]:
    """Return when the target was reached first (s), and in which round; (inf, 0) if it was not."""
    found = evaluations[evaluations["accuracy"] >= TARGET]
    return (float(found["time_s"].iloc[0]), int(found["round"].iloc[0])) if len(found) else (inf, 0)


def measure(fleets: list[str], variants: list[str], repeat: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (a row for each fleet and variant: when the target was reached; all durations side by side)."""
    rows, times, store = [], [], MemoryStore()

    def simulated(scenario: sflsim.Scenario, measured: sflsim.Calibration) -> sflsim.Run:
        return sflsim.simulate(predicted(scenario, measured, 0), store=store)

    before = calibrated(scenario_of(fleets[0], variants[0]), repeat)
    for fleet in fleets:
        scenarios, reals = [scenario_of(fleet, variant) for variant in variants], []
        for scenario in scenarios:
            _, rounds = reached(simulated(scenario, before).evaluations)
            stop = {"rounds": min(ceil(MARGIN * rounds), MOST_ROUNDS) or MOST_ROUNDS}
            longer = scenario.model_copy(update={"stop": scenario.stop.model_copy(update=stop)})
            reals.append(run_testbed(longer, slowdowns=SLOWDOWNS, server_slowdown=SERVER_SLOWDOWN))
        after = calibrated(scenarios[0], repeat)
        both, drift = pooled(before, after)
        before = after
        print(f"{fleet}: this machine's rates changed by up to {drift:.0%} meanwhile", flush=True)
        for scenario, real in zip(scenarios, reals, strict=True):
            run = simulated(scenario, both)
            name = str(run.evaluations["variant"].iloc[0])
            row: dict[str, Any] = {"fleet": fleet, "variant": name}
            row["measured_s"], row["measured_rounds"] = reached(real.evaluations)
            row["simulated_s"], row["simulated_rounds"] = reached(run.evaluations)
            rows.append(row)
            times.append(beside(real, run).assign(algorithm=name, by=fleet))
    return ranked(pd.DataFrame(rows)), pd.concat(times)


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the error and both ranks within each fleet, in the measured order."""
    for by in ("measured", "simulated"):
        rows[f"{by}_rank"] = rows.groupby("fleet")[f"{by}_s"].rank(method="min").astype(int)
    rows["error"] = rows["simulated_s"] / rows["measured_s"] - 1
    fleets = rows.groupby("fleet", sort=False)
    return pd.concat([own.sort_values("measured_s") for _, own in fleets], ignore_index=True)


def agreement(table: pd.DataFrame) -> Iterator[tuple[str, float, list[str]]]:
    """Yield each fleet with Kendall's tau of both orders and the pairs that swap."""
    for fleet, own in table.groupby("fleet", sort=False):
        tau = float(kendalltau(own["measured_s"], own["simulated_s"]).statistic)
        yield str(fleet), tau, list(_swapped(own))


def _swapped(own: pd.DataFrame) -> Iterator[str]:
    """Yield the pairs of variants of which the one is first for real and the other simulated."""
    rows: list[Any] = list(own.itertuples())
    for one, other in combinations(rows, 2):
        if (one.measured_s - other.measured_s) * (one.simulated_s - other.simulated_s) < 0:
            by_s = f"{abs(one.measured_s - other.measured_s):.2f} s"
            yield f"{one.variant} and {other.variant} (measured {by_s} apart)"
