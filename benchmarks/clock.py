"""Spans per second of the time plane, as a share of the bare rate of SimPy's timeouts.

The time plane: a timing-only run with all spans kept, from fleet to recorded span. Bare SimPy:
one process that yields one timeout after another, as many as there are spans, so that the ratio
of the times is that of the rates. Goal: at least a quarter.
Run: `python benchmarks/clock.py [--quick]`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from bench import Comparison, options, pair_ratios, report
from simpy import Environment, Event

import sflsim
from sflsim.session import Options, Session

SCENARIO = """
name: clock
workload: {{dataset: digits, model: mlp, cut: 1, batch_size: 32}}
fleet:
  clients: 100
  participants: 20
  groups:
    - {{share: 70%, device: raspberry-pi-4, link: wifi}}
    - {{share: 30%, device: jetson-nano, link: {{up: 10 Mbit/s, down: 40 Mbit/s, latency: 35 ms}}}}
  straggler: {{kind: exponential, mean: 2 s}}
server: {{compute: 100 GFLOP/s}}
variants: [{variant}]
stop: {{rounds: {rounds}}}
evaluate: {{every: 10 rounds}}
"""
CASES = [
    ("SplitFed V1, 5 iterations", "{algorithm: splitfed-v1, local_iterations: 5}"),
    ("MU-SplitFed, tau 4", "{algorithm: mu-splitfed, tau: 4}"),
]
GOAL = 0.25


def time_plane(session: Session) -> int:
    """Run the scenario's one variant; return the number of spans."""
    return len(session.run(0, 0, lambda row: None).spans)


def bare(timeouts: int) -> Callable[[], None]:
    """Return a run of SimPy that does nothing but let `timeouts` timeouts pass."""

    def process(env: Environment) -> Generator[Event, None, None]:
        for _ in range(timeouts):
            yield env.timeout(1.0)

    def run() -> None:
        env = Environment()
        env.process(process(env))
        env.run()

    return run


def main() -> None:
    """Run every comparison and print the table."""
    given = options("spans per second against bare SimPy timeouts per second")
    comparisons = []
    for name, variant in CASES:
        text = SCENARIO.format(variant=variant, rounds=50 if given.quick else 200)
        session = Session(sflsim.parse_scenario(text), Options(timing_only=True))
        timeouts = bare(time_plane(session))
        ratios = pair_ratios(timeouts, lambda session=session: time_plane(session), given.pairs)  # type: ignore[misc]
        comparisons.append(Comparison(name, ratios, GOAL, at_least=True))
    report("spans per second / SimPy timeouts per second", comparisons)


if __name__ == "__main__":
    main()
