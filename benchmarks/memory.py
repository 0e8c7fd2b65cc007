"""How memory grows with the rounds of a training run: calls behind known values are forgotten.

    python benchmarks/memory.py [--quick]

Digits, 50 participants per round, evaluated in every tenth; three algorithms, computed and then read again
from a store on disk. Each run is a process of its own. Growth: the least memory of Python objects in the
second half of the rounds less the least in the first half, per round, as tracemalloc counts it; peak: most
that the process ever held, imports included. The store in memory is held to 1 MiB of weights: at its default
it fills up to 512 MiB first. Goal: 4 KiB per round; with all calls kept it is 22 to 36.
"""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import tempfile
import tracemalloc

import sflsim

SCENARIO = """
name: memory
workload: {{dataset: digits, model: {{kind: mlp, hidden: [32]}}, cut: 1, batch_size: 16}}
fleet: {{clients: 50, groups: [{{device: raspberry-pi-4, link: wifi}}]}}
variants: [{{algorithm: {algorithm}}}]
stop: {{rounds: {rounds}}}
evaluate: {{every: 10 rounds}}
"""
ALGORITHMS = ("splitfed-v1", "mu-splitfed", "ho-sfl")
ROUNDS, QUICK = 400, 40
GOAL_KIB = 4.0
KIB = 2**10


def measure(algorithm: str, rounds: int, folder: str) -> None:
    """Run so many rounds here; print the growth in KiB per round and the peak in MiB."""
    held: list[tuple[int, int]] = []  # round, bytes

    def count(step: sflsim.Progress) -> None:
        if step.status == "running" and step.round > 0:
            gc.collect()
            held.append((step.round, tracemalloc.get_traced_memory()[0]))

    scenario = sflsim.parse_scenario(SCENARIO.format(algorithm=algorithm, rounds=rounds))
    store = sflsim.MemoryStore(KIB**2)
    tracemalloc.start()
    run = sflsim.simulate(scenario, store=store, cache=folder, keep_spans=False, progress=count)
    assert run.runs["rounds"].to_list() == [rounds]
    first = min(size for round, size in held if round <= rounds // 2)
    second = min(size for round, size in held if round > rounds // 2)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIB)
    print((second - first) / KIB / (rounds // 2), most / KIB**2)


def measured(algorithm: str, rounds: int, folder: str) -> tuple[float, float]:
    """Return growth and peak of a process of its own."""
    command = [sys.executable, __file__, "--run", algorithm, str(rounds), folder]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return float(told[0]), float(told[1])


def main() -> None:
    """Print a line for each algorithm, computed and read again."""
    if "--run" in sys.argv:
        algorithm, rounds, folder = sys.argv[sys.argv.index("--run") + 1 :]
        measure(algorithm, int(rounds), folder)
        return
    rounds = QUICK if "--quick" in sys.argv else ROUNDS
    print(f"{'algorithm':>12} {'':>10} {'KiB per round':>14} {'peak MiB':>9}")
    for algorithm in ALGORITHMS:
        with tempfile.TemporaryDirectory() as folder:
            for how in ("computed", "read again"):
                growth, peak = measured(algorithm, rounds, folder)
                verdict = "met" if growth <= GOAL_KIB else "MISSED"
                line = f"{algorithm:>12} {how:>10} {growth:>14.1f} {peak:>9.0f}"
                print(f"{line}  goal {GOAL_KIB:g}: {verdict}", flush=True)


if __name__ == "__main__":
    main()
