"""Pauses: a client that is away goes on where it was when it is back (`on_absence: pause`).

It computes, sends and receives only while it is there. Absences are known in advance, so the end of an
activity is known at its start: it is later by the absences in between. In the table of spans such an
activity is a span for each stretch in which the client is there. A message whose last byte has passed
travels on: it arrives at the server in time, and at a client when that is back. An absence without an end
is no pause: the client drops out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from sflsim.clock.engine import Activity
from sflsim.clock.spans import Recorder
from sflsim.errors import ScenarioError, refused
from sflsim.fleet.availability.on_off import Timeline
from sflsim.fleet.instants import settled_s
from sflsim.fleet.profiles import Profile

MAX_PAUSES = 20_000
"""Absences in one computation, slowdown or message, after which its end is not awaited."""
STEADY = Profile([0.0], [1.0])


def too_many() -> ScenarioError:
    """Return the error of an activity that absences interrupt too often."""
    found = f"a computation or message that {MAX_PAUSES} absences interrupt"
    remedy = "check costs, rates and availability, or set 'on_absence: lose'"
    return refused("fleet", found, "clients that stay longer", remedy)


class Pauses:
    """When one client goes on with its work, by its timeline."""

    __slots__ = ("_timeline",)

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def back_s(self, t_s: float) -> float:
        """Return from when on it is there: `t_s` if it is there then, or never will be again."""
        now_s = settled_s(t_s)
        if self._timeline.available_at(now_s):
            return t_s
        back_s = self._timeline.until(now_s)
        return back_s if back_s < inf else t_s

    def leaves_s(self, t_s: float) -> float:
        """Return when it leaves, if it is there at `t_s`; inf if it stays, or is never back afterwards."""
        left_s = self._timeline.until(settled_s(t_s))
        return left_s if left_s < inf and self._timeline.until(left_s) < inf else inf

    def lasting_s(
        self, start_s: float, seconds: float, rate: float | Profile = 1.0, amount: float = 0.0
    ) -> float:
        """Return how long an activity lasts from `start_s` that takes `seconds` without absences.

        At a `rate` over time it is the work `amount`, which may go on at another rate after an absence.

        Raises:
            ScenarioError: too many absences interrupt it.
        """
        if self.back_s(start_s) == start_s and start_s + seconds <= settled_s(self.leaves_s(start_s)):
            return seconds
        if isinstance(rate, Profile):
            return self._end_s(start_s, amount, rate) - start_s
        return self._end_s(start_s, seconds, STEADY) - start_s

    def _end_s(self, start_s: float, amount: float, rate: Profile) -> float:
        """Return when `amount` of work is done that may begin at `start_s`."""
        for _ in range(MAX_PAUSES):
            start_s = self.back_s(start_s)
            end_s, left_s = rate.end_of(start_s, amount), self.leaves_s(start_s)
            if end_s <= settled_s(left_s) or end_s == inf:
                return end_s
            amount -= rate.integral(start_s, left_s)
            start_s = left_s
        raise too_many()

    def stretches(self, start_s: float, end_s: float) -> list[tuple[float, float]]:
        """Return start and end of each stretch from `start_s` to `end_s` in which it is there."""
        found = []
        at_s = self.back_s(start_s)
        while at_s < end_s:
            left_s = self.leaves_s(at_s)
            if end_s <= settled_s(left_s):
                found.append((at_s, end_s))
                break
            found.append((at_s, left_s))
            at_s = self.back_s(left_s)
        return found or [(end_s, end_s)]

    def parts(self, activity: Activity, recorder: Recorder) -> list[Activity]:
        """Part an activity that absences interrupt, a part for each stretch; the last is the activity.

        Until then its span lasts from start to end, absences included, and draws its power all the time.
        """
        span = activity.span
        stretches = self.stretches(span.start_s, span.end_s)
        if stretches == [(span.start_s, span.end_s)]:
            return [activity]
        there_s = sum(end_s - start_s for start_s, end_s in stretches)
        energy_j = span.active_energy_j * there_s / (span.end_s - span.start_s)
        activity.span = span._replace(active_energy_j=energy_j)
        return [*self._earlier_parts(activity, recorder, stretches, there_s), activity]

    def _earlier_parts(
        self, activity: Activity, recorder: Recorder, stretches: Sequence[tuple[float, float]], there_s: float
    ) -> list[Activity]:
        """Return the parts of all stretches but the last, which remains the activity's own."""
        rest, found = activity.span, []
        for start_s, end_s in stretches[:-1]:
            activity.span = rest._replace(start_s=start_s, end_s=start_s + there_s)
            size_bytes, flop, energy_j = activity.completed(end_s)
            part = rest._replace(
                start_s=start_s, end_s=end_s, bytes=size_bytes, flop=flop, active_energy_j=energy_j
            )
            found.append(activity.part(recorder, part))
            rest = rest._replace(
                bytes=max(rest.bytes - size_bytes, 0.0),
                flop=max(rest.flop - flop, 0.0),
                active_energy_j=max(rest.active_energy_j - energy_j, 0.0),
            )
            there_s -= end_s - start_s
        activity.span = rest._replace(start_s=stretches[-1][0], end_s=stretches[-1][1])
        return found
