"""Rounds with clients that pause, against an event loop of its own, written from the rules.

The loop knows a list of steps for each client and what each step goes on at: a client's steps while it is
there, a message under way at all times, a job at the server in its turn. It advances to the next end of a
step or of an absence. Rates through the server's link are max-min fair by filling it up (`shares`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import UNLIMITED, data

from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.scenario.schema import Scenario

ROUNDS = 3
NEARLY = 1e-9
Absences = Sequence[tuple[float, float]]


@dataclass
class Party:
    """One client: its rates, its absences, and where it is in its round."""

    compute: float
    up: float
    down: float
    latency_s: float
    delay_s: float
    absences: Absences
    steps: list[tuple[str, float]] = field(default_factory=list)
    idle_s: float = 0.0
    away_s: float = 0.0

    def there(self, t_s: float) -> bool:
        """Return whether it is there at a time."""
        return not any(left_s - NEARLY <= t_s < back_s - NEARLY for left_s, back_s in self.absences)

    def begin(self) -> None:
        """Begin a round of SplitFed V1: model, forward, activations, server, gradient, backward, model."""
        self.steps = [
            ("down", 16.0), ("coming", self.latency_s), ("held up", self.delay_s), ("compute", 8.0),
            ("up", 12.0), ("going", self.latency_s), ("serve", 28.0), ("down", 8.0),
            ("coming", self.latency_s), ("compute", 16.0), ("up", 16.0), ("going", self.latency_s),
        ]  # fmt: skip


def shares(bounds: dict[int, float], capacity: float) -> dict[int, float]:
    """Return a rate for each, at most its bound, max-min fair in a capacity: the smallest bounds first."""
    rates, left = {}, capacity
    for place, (who, bound) in enumerate(sorted(bounds.items(), key=lambda pair: pair[1])):
        rates[who] = min(bound, left / (len(bounds) - place))
        left -= rates[who]
    return rates


def rates_at(
    parties: list[Party], working: list[int], queue: list[int], t_s: float, trunk: float
) -> dict[int, float]:
    """Return at what rate the present step of each participant goes on."""
    sending = {
        who: parties[who].up
        for who in working
        if parties[who].steps[0][0] == "up" and parties[who].there(t_s)
    }
    through = shares(sending, trunk)
    found = {}
    for who in working:
        party, kind = parties[who], parties[who].steps[0][0]
        own = {"down": party.down, "held up": 1.0, "compute": party.compute, "up": through.get(who, 0.0)}
        if kind in own:
            found[who] = own[kind] if party.there(t_s) else 0.0
        elif kind == "serve":
            found[who] = 4.0 * (queue[:1] == [who])
        else:
            found[who] = float(party.steps[0][1] > NEARLY)  # else it has come, and waits for the client
    return found


def simulated(parties: list[Party], trunk: float) -> list[float]:
    """Return when each round ends."""
    t_s, ends_s = 0.0, []
    changes_s = sorted({edge for party in parties for absence in party.absences for edge in absence})
    while len(ends_s) < ROUNDS:
        working = [who for who, party in enumerate(parties) if party.there(t_s)]
        if not working:
            t_s = min(edge for edge in changes_s if edge > t_s + NEARLY)
            continue
        sampled, queue = list(working), list[int]()
        for who in working:
            parties[who].begin()
        while working:
            rates = rates_at(parties, working, queue, t_s, trunk)
            ends = [parties[who].steps[0][1] / rate for who, rate in rates.items() if rate > 0]
            later = [edge - t_s for edge in changes_s if edge > t_s + NEARLY]
            step_s = min([*ends, *later])
            for who in sampled:
                parties[who].idle_s += step_s * parties[who].there(t_s)
                parties[who].away_s += step_s * (not parties[who].there(t_s))
            t_s += step_s
            for who in list(working):
                advance(parties[who], rates[who] * step_s, who, working, queue, t_s)
        ends_s.append(t_s)
    return ends_s


def advance(party: Party, done: float, who: int, working: list[int], queue: list[int], t_s: float) -> None:
    """Take what is done from the present step; at its end go on to the next."""
    kind, left = party.steps[0]
    party.steps[0] = kind, max(left - done, 0.0)
    while party.steps and party.steps[0][1] <= NEARLY:
        if party.steps[0][0] == "coming" and not party.there(t_s):
            return  # delivered when it is back
        (ended, _) = party.steps.pop(0)
        if ended == "serve":
            queue.remove(who)
        if party.steps and party.steps[0][0] == "serve":
            queue.append(who)
    if not party.steps:
        working.remove(who)


def measured(parties: list[Party], trunk: float) -> Run:
    """Return the run of the same clients by sflsim."""
    groups, events = [], []
    for number, party in enumerate(parties):
        link = {"up": f"{party.up} byte/s", "down": f"{party.down} byte/s", "latency": f"{party.latency_s} s"}
        groups.append(
            {
                "name": f"c{number}",
                "count": 1,
                "device": {"compute": f"{party.compute} FLOP/s", "power": {"idle": "1 W", "compute": "1 W"}},
                "link": link,
                "straggler": {"kind": "constant", "value": f"{party.delay_s} s"},
                "on_absence": "pause",
            }
        )
        for left_s, back_s in party.absences:
            events.append({"at": f"{left_s!r} s", "group": f"c{number}", "leave": True})
            events.append({"at": f"{back_s!r} s", "group": f"c{number}", "join": True})
    server = {"compute": "4 FLOP/s", "slots": 1, "link": {"up": "unlimited", "down": f"{trunk} byte/s"}}
    if trunk == math.inf:
        server["link"] = UNLIMITED
    fleet: dict[str, Any] = {"clients": len(parties), "groups": groups, "events": events}
    content = data(fleet=fleet, server=server, stop={"rounds": ROUNDS})
    return simulate(Scenario.model_validate(content), timing_only=True)


@st.composite
def clients(draw: st.DrawFn) -> Party:
    """Draw a client; no time of it ends just when one of another does, except by an absence."""
    lengths = draw(st.lists(st.floats(0.7, 25), max_size=10))
    edges = [sum(lengths[: place + 1]) for place in range(len(lengths) // 2 * 2)]
    return Party(
        compute=draw(st.floats(2, 9)),
        up=draw(st.floats(2, 9)),
        down=draw(st.floats(2, 9)),
        latency_s=draw(st.floats(0.01, 2)),
        delay_s=draw(st.floats(0.01, 3)),
        absences=list(zip(edges[::2], edges[1::2], strict=True)),
    )


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(st.lists(clients(), min_size=1, max_size=4), st.sampled_from([math.inf, 9.0, 3.0]))
def test_rounds_of_clients_that_pause_end_when_the_other_loop_says(
    parties: list[Party], trunk: float
) -> None:
    """And each client takes part, and is away, as long as there."""
    run = measured(parties, trunk)
    expected = simulated(parties, trunk)

    assert run.evaluations["time_s"].tolist()[1:] == pytest.approx(expected, rel=1e-6)
    rows: dict[str, Any] = dict(zip(run.clients["client"], run.clients.to_dict("records"), strict=True))
    for number, party in enumerate(parties):
        row = rows.get(f"c{number}-0", {"idle_j": 0.0, "absence_s": 0.0})
        assert (row["idle_j"], row["absence_s"]) == pytest.approx(
            (party.idle_s, party.away_s), rel=1e-6, abs=1e-6
        )
