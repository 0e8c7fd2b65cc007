"""Fifty timing scenarios of one synchronous experiment, against one: training is done once.

    python benchmarks/retiming.py [--quick] [--cold 50 --width 256]

Three algorithms under two seeds learn on digits with a network of 4.3 million weights; the fifty
scenarios differ in bandwidths and stragglers, and share a store on disk that is empty at first. Each is
simulated in full, tables included. Beside wall-clock time stands this process's processor time, which a
busy machine disturbs less. The last lines repeat some of them with no store, `--cold` of them (the
first and the last), and compare every table byte for byte; all fifty are dear, so that is best done
with a smaller network (`--width`: neurons of a layer).
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from pathlib import Path

import bench

import sflsim
from sflsim.scenario import parse_scenario

GOAL = 1.2
SCENARIO = """
name: retiming
seeds: [0, 1]
workload: {{dataset: digits, model: {{kind: mlp, hidden: [{width}, {width}]}}, cut: 1, batch_size: 128}}
fleet:
  clients: 10
  participants: 5
  groups:
    - {{share: 70%, device: raspberry-pi-4, link: {{up: {up} Mbit/s, down: 40 Mbit/s, latency: 10 ms}}}}
    - {{share: 30%, device: jetson-nano, link: wifi}}
  straggler: {{kind: exponential, mean: {late} s}}
variants:
  - {{algorithm: splitfed-v1}}
  - {{algorithm: fedavg}}
  - {{algorithm: mu-splitfed, tau: 4, eta_s: 1.0e-5, eta_c: 1.0e-5}}
stop: {{rounds: {rounds}}}
evaluate: {{every: 5 rounds}}
"""
TABLES = ("spans", "evaluations", "clients", "runs")


def scenarios(quick: bool, width: int | None = None) -> list[sflsim.Scenario]:
    """Return the timings: stragglers of 1 to 10 s by uplinks of 1 to 40 Mbit/s."""
    width, rounds = (64, 5) if quick else (width or 2048, 30)
    stragglers = [1, 5] if quick else range(1, 11)
    uplinks = [1, 5, 10, 20, 40]
    return [
        parse_scenario(SCENARIO.format(width=width, rounds=rounds, late=late, up=up))
        for late in stragglers
        for up in uplinks
    ]


def digests(run: sflsim.Run) -> list[str]:
    """Return a hash of each table as text, floats by their shortest exact form."""
    texts = [getattr(run, name).to_csv() for name in TABLES]
    return [hashlib.blake2b(text.encode()).hexdigest() for text in texts]


def spread(number: int, of: int) -> set[int]:
    """Return `number` places among `of`, evenly spread: the first, the last, and what is between."""
    return {round(place * (of - 1) / max(1, number - 1)) for place in range(number)}


def main() -> None:
    """Time the fifty and the first of them, and compare some with cold runs."""
    given = bench.options(__doc__ or "", cold="timings to compare with cold runs", width="neurons of a layer")
    quick = given.quick
    timings = scenarios(quick, given.width)
    sflsim.simulate(scenarios(True)[0])  # what a process loads once
    kept: dict[int, list[str]] = {}
    wall_s, processor_s, work = [], [], []
    compared = spread(min(given.cold or (len(timings) if quick else 2), len(timings)), len(timings))
    with tempfile.TemporaryDirectory() as store:
        for number, timing in enumerate(timings):
            started_s, used_s = time.perf_counter(), time.process_time()
            run = sflsim.simulate(timing, cache=Path(store))
            wall_s.append(time.perf_counter() - started_s)
            processor_s.append(time.process_time() - used_s)
            work.append(Counter(run.manifest["computed_calls"]))
            if number in compared:
                kept[number] = digests(run)
    print(f"{len(timings)} timings of three algorithms under two seeds")
    print(f"  trainings run: {6 * sum(map(bool, work))} (calls computed: {dict(sum(work, Counter()))})")
    for name, spent_s in (("wall-clock", wall_s), ("processor", processor_s)):
        ratio = sum(spent_s) / spent_s[0]
        met = "met" if ratio <= GOAL else "MISSED, as a training this short must" if quick else "MISSED"
        first, rest = spent_s[0], sum(spent_s[1:]) / len(spent_s[1:])
        print(
            f"  {name:10} time: first {first:.1f} s, each further {rest:.2f} s, all / one = {ratio:.3f}"
            f"  (goal <= {GOAL}: {met})"
        )
    for number, tables in kept.items():
        cold = digests(sflsim.simulate(timings[number]))
        assert tables == cold, f"timing {number} differs from its cold run"
    print(f"  {len(kept)} of them equal their cold runs, byte for byte")


if __name__ == "__main__":
    main()
