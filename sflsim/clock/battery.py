"""A battery that what its client draws empties, and the client that vanishes with it.

Power is constant piece by piece: steady loads last until they are changed, planned ones are known
with their ends. So the moment at which the battery is empty is worked out, not looked for. Clients
without a battery know nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from sflsim.clock.client import Begun
from sflsim.clock.engine import LAST, Activity, Environment, call_in, delay_to
from sflsim.clock.intermittent_client import FleetingClient
from sflsim.clock.network import SharedChannel

Load = tuple[float, float, float]
"""Start and end in s, power in W."""


class Battery:
    """The energy that is left; `on_empty` is called once, when an instant in which there is none ends."""

    __slots__ = ("_at_s", "_due_s", "_env", "_left_j", "_on_empty", "_planned", "_steady_w", "empty")

    def __init__(self, env: Environment, capacity_j: float, on_empty: Callable[[], None]) -> None:
        self._env = env
        self._at_s = env.now
        self._left_j = capacity_j  # at that time
        self._on_empty = on_empty
        self._steady_w: dict[str, float] = {}
        self._planned: list[Load] = []
        self._due_s = inf  # when the earliest event that may find it empty fires
        self.empty = False

    @property
    def left_j(self) -> float:
        """Return what is left now."""
        return self._left_j - self._drawn_j(self._env.now)

    def steady(self, name: str, power_w: float) -> None:
        """Let the load of this name draw `power_w` from now on."""
        self._settle()
        self._steady_w[name] = power_w
        self._foretell()

    def plan(self, load: Load) -> None:
        """Let a load be drawn, now or to come."""
        start_s, end_s, power_w = load
        if power_w > 0 and end_s > start_s:
            self._settle()
            self._planned.append(load)
            self._foretell()

    def cut(self) -> None:
        """Draw no more of what was planned from now on."""
        self._settle()
        self._planned.clear()

    def _drawn_j(self, until_s: float) -> float:
        """Return what is drawn from the time of the last account up to another."""
        at_s, steady_w = self._at_s, sum(self._steady_w.values())
        planned_j = (
            power_w * max(min(end_s, until_s) - max(start_s, at_s), 0.0)
            for start_s, end_s, power_w in self._planned
        )
        return steady_w * (until_s - at_s) + sum(planned_j)

    def _settle(self) -> None:
        """Account for what was drawn up to now."""
        now = self._env.now
        if now > self._at_s:
            self._left_j -= self._drawn_j(now)
            self._at_s = now
            self._planned = [load for load in self._planned if load[1] > now]

    def _empty_s(self) -> float:
        """Return when it will be empty if nothing changes; inf if never."""
        left_j, at_s = self._left_j, self._at_s
        steady_w = sum(self._steady_w.values())
        changes_s = {time_s for load in self._planned for time_s in load[:2] if time_s > at_s}
        for until_s in [*sorted(changes_s), inf]:
            planned_w = (power_w for start_s, end_s, power_w in self._planned if start_s <= at_s < end_s)
            power_w = steady_w + sum(planned_w)
            if left_j <= 0:
                return at_s
            if power_w > 0 and at_s + left_j / power_w <= until_s:
                return at_s + left_j / power_w
            left_j -= power_w * (until_s - at_s) if power_w else 0.0
            at_s = until_s
        return inf

    def _foretell(self) -> None:
        """Have an event wait for the moment, unless one fires before."""
        empty_s = inf if self.empty else self._empty_s()
        if empty_s < self._due_s:
            self._due_s = empty_s
            delay_s = delay_to(self._env, empty_s)
            call_in(self._env, delay_s, lambda event: self._look(empty_s), LAST)

    def _look(self, due_s: float) -> None:
        """Be empty, or wait once more if less has been drawn than was foreseen."""
        if due_s != self._due_s:
            return
        self._due_s = inf
        self._settle()
        if self._empty_s() <= self._env.now:
            self.empty = True
            self._on_empty()
        else:
            self._foretell()


class BatteryClient(FleetingClient):
    """A client that its battery lets take part until it is empty.

    The battery gives what tables charge the client with: idle power while it takes part, and what
    its activities draw above that.
    """

    __slots__ = ("battery",)

    def __init__(self, *place: Any, on_empty: Callable[[BatteryClient], None]) -> None:
        super().__init__(*place)
        capacity_j = self.device.battery_j
        assert capacity_j is not None
        self.battery = Battery(self._env, capacity_j, lambda: on_empty(self))
        for channel in (self._up, self._down):
            if isinstance(channel, SharedChannel):
                channel.steady = self.battery.steady

    def begin(self, round: int, exchange: int = 0) -> None:
        """Open an exchange; from the first of a participation on the device idles for it."""
        super().begin(round, exchange)
        self.battery.steady("idle", self.device.power.idle_w)

    def rest(self) -> None:
        """End a participation: what is under way goes on to draw, idling does not."""
        super().rest()
        self.battery.steady("idle", 0.0)

    def vanish(self) -> None:
        """Cut all that is under way, and what it would have drawn."""
        super().vanish()
        self.battery.cut()

    def _began(self, activity: Begun) -> Begun:
        super()._began(activity)
        if isinstance(activity, Activity):
            self.battery.plan(activity.load)
        return activity
