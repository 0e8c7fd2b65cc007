"""GAS through sflsim with generated activations against the same run without.

Ratio: time with / time without generation; statistics, draws and the larger server batch are all
in it. Goal: at most 2.0, that is, generating costs at most as much again as the training. The
covariance is the default's: full where the activation is small, diagonal where it is large.
Run: `python benchmarks/gas.py [--quick]`.
"""

from __future__ import annotations

import torch
from bench import Comparison, options, pair_ratios, report

import sflsim
from sflsim.learning.graph.store import MemoryStore
from sflsim.session import Options, Session

SCENARIO = """
name: benchmark
workload: {{dataset: digits, model: {model}, cut: {cut}, batch_size: 32}}
fleet:
  clients: 10
  groups: [{{share: 100%, device: raspberry-pi-4, link: wifi}}]
variants:
  - {{algorithm: gas, covariance: {covariance}}}
  - {{algorithm: gas, generate: false}}
stop: {{rounds: {rounds}}}
evaluate: {{every: {rounds} rounds}}
"""

WIDE = "{kind: mlp, hidden: [4096, 64]}"
CASES = [
    ("MLP, 64 numbers, auto (full)", "mlp", 1, "auto", 3, 2.0),
    ("MLP, 128 numbers, auto (full)", "{kind: mlp, hidden: [128, 64]}", 1, "auto", 3, 2.0),
    ("MLP, 256 numbers, auto (diagonal)", "{kind: mlp, hidden: [256, 64]}", 1, "auto", 3, 2.0),
    ("MLP, 256 numbers, full", "{kind: mlp, hidden: [256, 64]}", 1, "full", 3, float("inf")),
    ("CNN, 16x4x4, auto (diagonal)", "cnn", 1, "auto", 3, 2.0),
    ("CNN, 32x2x2, auto (full)", "cnn", 2, "auto", 3, 2.0),
    ("MLP, 4096 numbers, auto (diagonal)", WIDE, 1, "auto", 1, 2.0),
]


def run(session: Session, variant: int) -> None:
    """Run one variant with nothing computed before."""
    session.store = MemoryStore()
    assert session.run(variant, 0, lambda row: None).status == "completed"


def main() -> None:
    """Run every comparison and print the table."""
    given = options("GAS with generated activations against GAS without")
    comparisons = []
    for name, model, cut, covariance, rounds, goal in CASES:
        rounds = 1 if given.quick else rounds
        text = SCENARIO.format(model=model, cut=cut, covariance=covariance, rounds=rounds)
        session = Session(sflsim.parse_scenario(text), Options(threads=torch.get_num_threads()))
        with_s, without_s = (lambda session=session, number=number: run(session, number) for number in (0, 1))
        comparisons.append(Comparison(name, pair_ratios(with_s, without_s, given.pairs), goal))
    report("time with generation / time without", comparisons)


if __name__ == "__main__":
    main()
