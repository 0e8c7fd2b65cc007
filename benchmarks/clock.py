"""What the clock takes: against bare timeouts, against an idiomatic SimPy model, and by messages at once.

1. Spans per second of a timing-only run with all spans kept, from fleet to recorded span, as a share of
the bare rate of SimPy's timeouts: one process that yields as many of them as there are spans. Goal: 0.25.
2. The quickstart's MU-SplitFed (tau 8, spans kept) against the same as an idiomatic SimPy model, without a
server link and with one that binds never, at times or always: us per span. Goal: half the idiomatic
model's time without a server link, and with one that does not bind.
3. Messages side by side through one server link, 1 to 10^5 at once: us per message.
2 and 3 are processor time, the best of some repetitions in turn.
Run: `python benchmarks/clock.py [--quick]`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from math import inf
from pathlib import Path
from typing import Any

import yaml
from bench import Comparison, options, pair_ratios, report
from idiomatic import Exchange, Experiment, Figures
from simpy import Environment, Event

import sflsim
from sflsim.clock.engine import rare_garbage_collection
from sflsim.clock.flows import ServerLink
from sflsim.clock.server_channel import Contention, ServerChannel
from sflsim.clock.shared_links import SharedLinks
from sflsim.clock.spans import Recorder
from sflsim.fleet.links.directions import Direction
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
QUICKSTART = Path(__file__).parents[1] / "scenarios" / "quickstart.yaml"
LINKS = {
    "no server link": None,
    "a link that never binds": "1 Gbit/s",
    "a link that binds at times": "100 Mbit/s",
    "a link that always binds": "5 Mbit/s",
}
DEVICES = [Figures(16e9, 18.75e6, 18.75e6, 0.003)] * 7 + [Figures(94e9, 1.25e6, 5e6, 0.035)] * 3
EXCHANGE = Exchange(77568.0, 524288.0, 256.0, 358.6e6, 4.111e9, 8)
RATE = 1e6  # byte/s of each channel


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


def session(rate: str | None, rounds: int) -> Session:
    """Return the quickstart's MU-SplitFed of tau 8 with a server link of this rate."""
    content: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    variant = {"algorithm": "mu-splitfed", "tau": 8, "eta_s": 0.01, "eta_c": 0.005, "eta_g": 1.0}
    content |= {"seeds": [0], "variants": [variant], "stop": {"rounds": rounds}}
    del content["server"]["link"]
    if rate is not None:
        content["server"]["link"] = {"up": rate, "down": rate}
    return Session(sflsim.parse_scenario(yaml.safe_dump(content)), Options(timing_only=True))


def idiomatic(rounds: int) -> int:
    """Run the idiomatic model; return the number of its spans."""
    experiment = Experiment(DEVICES, EXCHANGE, 100e9, 5)
    experiment.run(rounds)
    return len(experiment.spans)


def messages(at_once: int, in_all: int, capacity: float) -> int:
    """Send messages over so many channels at once, of different lengths; return how many."""
    env, recorder = Environment(), Recorder()
    links = SharedLinks(env)
    link = links.add(ServerLink, capacity, "link")
    contention = Contention(links, link, link)
    each = max(in_all // at_once, 1)
    for number in range(at_once):
        channel = ServerChannel(contention, recorder, "uplink", str(number), Direction(RATE, 0.01), 1.0)

        def send(left: int, channel: ServerChannel = channel, size: float = 1e6 + number) -> None:
            if left:
                arrival = channel.send(size, left)
                arrival.callbacks.append(lambda event: send(left - 1))

        send(each)
    with rare_garbage_collection():
        env.run()
    return at_once * each


def best_us(sides: dict[str, Callable[[], int]], repetitions: int) -> dict[str, float]:
    """Return the least processor time in us per thing that each side counts; the sides take turns."""
    least = dict.fromkeys(sides, inf)
    for _ in range(repetitions):
        for name, side in sides.items():
            gc.collect()
            started = time.process_time()
            count = side()
            least[name] = min(least[name], (time.process_time() - started) / count * 1e6)
    return least


def against_timeouts(quick: bool, pairs: int) -> None:
    """Compare with bare timeouts."""
    comparisons = []
    for name, variant in CASES:
        text = SCENARIO.format(variant=variant, rounds=50 if quick else 200)
        session = Session(sflsim.parse_scenario(text), Options(timing_only=True))
        timeouts = bare(time_plane(session))
        ratios = pair_ratios(timeouts, lambda session=session: time_plane(session), pairs)  # type: ignore[misc]
        comparisons.append(Comparison(name, ratios, GOAL, at_least=True))
    report("spans per second / SimPy timeouts per second", comparisons)


def against_idiomatic(quick: bool, pairs: int) -> None:
    """Compare with an idiomatic model."""
    rounds = 30 if quick else 300
    sides: dict[str, Callable[[], int]] = {"idiomatic SimPy": lambda: idiomatic(rounds)}
    for name, rate in LINKS.items():
        made = session(rate, rounds)
        sides[name] = lambda made=made: len(made.run(0, 0, lambda row: None).spans)  # type: ignore[misc]
    found = best_us(sides, pairs)
    print(f"{'':28}  us per span  / idiomatic")
    for name, us in found.items():
        print(f"{name:28}  {us:11.2f}  {us / found['idiomatic SimPy']:11.2f}")


def by_messages_at_once(quick: bool, pairs: int) -> None:
    """Show how the time of a message grows."""
    print("\nus per message, by messages at once\n          no link binds  a link binds")
    for at_once in [10**power for power in range(4 if quick else 6)]:
        count = 1000 if quick else 20_000
        wide, narrow = 2 * at_once * RATE, 0.6 * at_once * RATE
        pair = {
            "wide": lambda at_once=at_once, count=count, wide=wide: messages(at_once, count, wide),
            "narrow": lambda at_once=at_once, count=count, narrow=narrow: messages(at_once, count, narrow),
        }
        us = best_us(pair, 1 if at_once >= 10**5 else pairs)  # type: ignore[arg-type]
        print(f"{at_once:8}  {us['wide']:13.2f}  {us['narrow']:12.2f}")


def main() -> None:
    """Print the three tables."""
    given = options("what the clock takes per span and per message")
    against_timeouts(given.quick, given.pairs)
    against_idiomatic(given.quick, given.pairs)
    by_messages_at_once(given.quick, given.pairs)


if __name__ == "__main__":
    main()
