"""How far is the simulated clock from real processes?

Four clients and a server run as processes of their own on this machine, over real sockets, and then
in the simulator with the rates that `calibrate` measured here. Two clients are slow and have a slow
link, two are faster: links are shaped in the transport and devices slowed by their duty cycle, which
needs no privileges. Three algorithms: first-order with a message each way (splitfed-v1), zeroth-order
with server steps that overlap the client's messages (mu-splitfed), and unsplit (fedavg). Both
learn the same, so that only the clock differs.

With `--kinds`, the network has a block of depthwise convolutions beside dense ones, and nothing of it is
measured: its times are predicted from rates by kind of operation that are fitted to other networks, and
beside that from one rate that is fitted to the same measurements.

    python analysis/testbed_study.py [--quick] [--kinds] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from testbed.runner import SHAPING, Reality, run_testbed

import sflsim
from sflsim.learning.profiling.calibration import Measured

SLOWDOWNS = {"slow": 30.0, "fast": 15.0}
SERVER_SLOWDOWN = 15.0
ROUNDS = 12
REPEAT = 20
SCENARIO = """
name: testbed
seeds: [0]
workload: {model: {kind: cnn, channels: [32, 32], dense: 64}, cut: 1, batch_size: 64}
fleet:
  clients: 4
  groups:
    - {name: slow, count: 2, device: {compute: 1 GFLOP/s},
       link: {up: 12 Mbit/s, down: 16 Mbit/s, latency: 30 ms}}
    - {name: fast, count: 2, device: {compute: 1 GFLOP/s},
       link: {up: 24 Mbit/s, down: 32 Mbit/s, latency: 15 ms}}
server: {compute: 1 GFLOP/s, slots: 1}
variants:
  - {algorithm: splitfed-v1, local_iterations: 2}
  - {algorithm: mu-splitfed, tau: 2, eta_g: 1.0}
  - {algorithm: fedavg, local_iterations: 3}
stop: {rounds: 12}
evaluate: {every: 1 round}
"""
UNLIKE = SCENARIO.replace("{kind: cnn, channels: [32, 32], dense: 64}, cut: 1", "unlike, cut: 2")
"""The same with a network whose blocks differ in kind."""
QUICK_ROUNDS = 4
QUICK_REPEAT = 5
WORK = {"splitfed-v1": ("backward", "forward"), "mu-splitfed": ("zeroth-order step",)}
"""What the server does on an activation."""


def predicted(scenario: sflsim.Scenario, measured: sflsim.Calibration, variant: int) -> sflsim.Scenario:
    """Return the scenario of one variant with this machine's rates, each slowed as its emulation is."""
    config = scenario.variants[variant]
    part = "whole" if config.algorithm == "fedavg" else f"client {measured.cut}"
    works = ("backward", "forward") if config.algorithm == "fedavg" else ("backward",)
    forward = ("zeroth-order step",) if config.algorithm == "mu-splitfed" else ("forward",)
    content = scenario.model_dump(mode="json", exclude_unset=True)
    content["variants"] = [content["variants"][variant]]
    for group in content["fleet"]["groups"]:
        slowdown = SLOWDOWNS[group["name"]]
        rates = {"compute": rate(measured, part, works), "forward": rate(measured, part, forward)}
        group["device"] = {name: f"{value / slowdown} FLOP/s" for name, value in rates.items()}
    served = rate(measured, f"server {measured.cut}", WORK.get(config.algorithm, ("forward",)))
    content["server"]["compute"] = f"{served / SERVER_SLOWDOWN} FLOP/s"
    return sflsim.Scenario.model_validate(content)


def by_kind(scenario: sflsim.Scenario, measured: sflsim.Calibration, variant: int) -> sflsim.Scenario:
    """Return the scenario of one variant with rates by kind that were fitted to other networks."""
    found = measured.by_kind(1)
    return _slowed(scenario, variant, lambda slowdown: found.slowed(slowdown).figures())


def by_one_rate(scenario: sflsim.Scenario, measured: sflsim.Calibration, variant: int) -> sflsim.Scenario:
    """Return the same with one rate, least squares on relative errors over the same measurements."""
    rates = [one.flop_per_s for one in measured.of_networks]
    flop_per_s = sum(one**2 for one in rates) / sum(rates)
    return _slowed(scenario, variant, lambda slowdown: f"{flop_per_s / slowdown} FLOP/s")


def _slowed(scenario: sflsim.Scenario, variant: int, compute: Callable[[float], Any]) -> sflsim.Scenario:
    """Return the scenario of one variant with the rates of each device and the server as slowed."""
    content = scenario.model_dump(mode="json", exclude_unset=True)
    content["variants"] = [content["variants"][variant]]
    for group in content["fleet"]["groups"]:
        group["device"] = {"compute": compute(SLOWDOWNS[group["name"]])}
    content["server"]["compute"] = compute(SERVER_SLOWDOWN)
    return sflsim.Scenario.model_validate(content)


def rate(measured: sflsim.Calibration, part: str, works: tuple[str, ...]) -> float:
    """Return the rate in FLOP/s of several kinds of work done after each other."""
    found = [measured.find(part, work) for work in works]
    return sum(one.flop for one in found) / sum(one.median_s for one in found)


def durations(spans: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds of every round, every exchange and every activity in it.

    A round begins with its first message and ends with its last. An exchange is what a client does
    between the model's arrival and its sending it back. A message counts until it arrives.
    """
    travels = (spans["activity"] == "latency").shift(-1, fill_value=False)  # a message until it arrives
    spans = spans.assign(end_s=spans["end_s"].where(~travels, spans["end_s"].shift(-1)))
    spans = spans[spans["activity"].isin(["compute", "uplink", "downlink", "serve", "queue"])]
    rounds = spans.groupby("round").agg(start=("start_s", "min"), end=("end_s", "max"))
    rows = [("round", number, "", row.end - row.start) for number, row in rounds.iterrows()]
    for (number, client), own in spans.groupby(["round", "client"]):
        down, up = own[own["activity"] == "downlink"], own[own["activity"] == "uplink"]
        rows.append(("exchange", number, client, up["start_s"].max() - down["end_s"].min()))
        each = (own["end_s"] - own["start_s"]).groupby(own["activity"]).sum()
        rows += [(activity, number, client, seconds) for activity, seconds in each.items()]
    return pd.DataFrame(rows, columns=["what", "round", "client", "seconds"])


def beside(real: Reality, run: sflsim.Run) -> pd.DataFrame:
    """Return every duration that was measured beside the one that was predicted, and its error."""
    keys = ["what", "round", "client"]
    both = durations(real.spans).merge(durations(run.spans), on=keys, suffixes=("", "_predicted"))
    both["error"] = both["seconds_predicted"] / both["seconds"] - 1
    return both[both["what"] != "queue"]


def learning_apart(real: Reality, run: sflsim.Run) -> pd.DataFrame:
    """Return how far accuracy and loss of the real run are from the simulated one's, round by round."""
    both = real.evaluations.merge(run.evaluations, on="round", suffixes=("", "_simulated"))
    return pd.DataFrame(
        {name: (both[name] - both[f"{name}_simulated"]).abs() for name in ("accuracy", "loss")}
    )


Predict = Callable[[sflsim.Scenario, sflsim.Calibration, int], sflsim.Scenario]
OF_PARTS: Mapping[str, Predict] = {"measured parts": predicted}
OF_KINDS: Mapping[str, Predict] = {"rates by kind": by_kind, "one rate": by_one_rate}
"""Ways to predict a variant, by name."""


def real_and_simulated(
    scenario: sflsim.Scenario, variant: int, repeat: int, ways: Mapping[str, Predict] = OF_PARTS
) -> tuple[Reality, dict[str, sflsim.Run], float]:
    """Run a variant for real, and simulate it in several ways with what was measured before and after.

    Both together, as a machine that others use is not equally fast all the time. The third value
    says how unequally: the largest change of a work's median time from before to after.
    """
    kinds = ways is OF_KINDS
    before = calibrated(scenario, repeat, kinds)
    real = run_testbed(scenario, variant, slowdowns=SLOWDOWNS, server_slowdown=SERVER_SLOWDOWN)
    after = calibrated(scenario, repeat, kinds)
    pooled = replace(
        before,
        measured=_pooled(before.measured, after.measured),
        of_networks=_pooled(before.of_networks, after.of_networks),
    )
    drift = max(
        abs(again.median_s / one.median_s - 1)
        for one, again in zip(before.measured, after.measured, strict=True)
    )
    runs = {name: sflsim.simulate(way(scenario, pooled, variant)) for name, way in ways.items()}
    return real, runs, drift


def _pooled(before: Sequence[Measured], after: Sequence[Measured]) -> tuple[Measured, ...]:
    both = zip(before, after, strict=True)
    return tuple(replace(one, seconds=one.seconds + again.seconds) for one, again in both)


def calibrated(scenario: sflsim.Scenario, repeat: int, kinds: bool) -> sflsim.Calibration:
    """Measure this machine, in processor time: that is what the emulated devices are slowed by."""
    return sflsim.calibrate(scenario, repeat=repeat, clock="cpu", every_part=False, by_kind=kinds)


def study(rounds: int, repeat: int, kinds: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (every duration measured and predicted, the distance of what was learned)."""
    text, ways = (UNLIKE, OF_KINDS) if kinds else (SCENARIO, OF_PARTS)
    scenario = sflsim.parse_scenario(text, overrides=[f"stop.rounds={rounds}"])
    times, learned = [], []
    for number, config in enumerate(scenario.variants):
        real, runs, drift = real_and_simulated(scenario, number, repeat, ways)
        for name, run in runs.items():
            times.append(beside(real, run).assign(algorithm=config.algorithm, by=name))
            learned.append(learning_apart(real, run).assign(algorithm=config.algorithm))
        print(
            f"{config.algorithm}: {rounds} rounds for real and simulated; "
            f"this machine's rates changed by up to {drift:.0%} meanwhile",
            flush=True,
        )
    return pd.concat(times), pd.concat(learned)


def table(times: pd.DataFrame) -> pd.DataFrame:
    """Return the medians for each algorithm: measured, predicted, error, size of the error."""
    times = times.assign(size=times["error"].abs())
    columns: dict[str, Any] = {
        "n": ("seconds", "size"),
        "measured_s": ("seconds", "median"),
        "predicted_s": ("seconds_predicted", "median"),
        "median_error": ("error", "median"),
        "median_size_of_error": ("size", "median"),
    }
    return times.groupby(["by", "algorithm", "what"], sort=False).agg(**columns).reset_index()


def main() -> None:
    """Run the study and write its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small setting, for CI")
    parser.add_argument("--kinds", action="store_true", help="blocks that differ in kind, none measured")
    parser.add_argument("--out", type=Path, default=Path("analysis/results"))
    arguments = parser.parse_args()
    rounds, repeat = (QUICK_ROUNDS, QUICK_REPEAT) if arguments.quick else (ROUNDS, REPEAT)
    times, learned = study(rounds, repeat, arguments.kinds)
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "testbed_kinds" if arguments.kinds else "testbed"
    times.to_csv(arguments.out / f"{name}_durations.csv", index=False)
    found = table(times)
    found.to_csv(arguments.out / f"{name}.csv", index=False)
    print(f"{SHAPING}\n{found.round(3).to_string(index=False)}")
    print(f"learning, largest difference:\n{learned.groupby('algorithm').max().to_string()}")


if __name__ == "__main__":
    main()
