"""A battery: the client draws power from it and drops out when it is empty.

Power is piecewise constant. A steady load lasts until it is changed; a planned load has a known end. So
the moment at which the battery is empty is computed, not searched for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from sflsim.clock.engine import LAST, Activity, Environment, Event, call_in, delay_to
from sflsim.clock.intermittent_client import IntermittentClient
from sflsim.clock.shared_channel import SharedChannel

Load = tuple[float, float, float]
"""Start and end in s, power in W."""


class Battery:
    """The remaining energy; `on_empty` is called once, at the end of the instant in which it is zero."""

    __slots__ = (
        "_due_s",
        "_env",
        "_on_empty",
        "_planned",
        "_remaining_j",
        "_steady_w",
        "_updated_s",
        "empty",
    )

    def __init__(self, env: Environment, capacity_j: float, on_empty: Callable[[], None]) -> None:
        self._env = env
        self._updated_s = env.now
        self._remaining_j = capacity_j  # at that time
        self._on_empty = on_empty
        self._steady_w: dict[str, float] = {}
        self._planned: list[Load] = []
        self._due_s = inf  # when the earliest event that checks it fires
        self.empty = False

    def set_load(self, name: str, power_w: float) -> None:
        """Let the steady load of this name draw `power_w` from now on."""
        self._update()
        self._steady_w[name] = power_w
        self._schedule_check()

    def add_load(self, load: Load) -> None:
        """Add a planned load, present or future."""
        start_s, end_s, power_w = load
        if power_w > 0 and end_s > start_s:
            self._update()
            self._planned.append(load)
            self._schedule_check()

    def cancel_loads(self) -> None:
        """Cancel the planned loads from now on."""
        self._update()
        self._planned.clear()

    def _drawn_j(self, until_s: float) -> float:
        """Return the energy drawn from the last update to `until_s`."""
        since_s, steady_w = self._updated_s, sum(self._steady_w.values())
        planned_j = (
            power_w * max(min(end_s, until_s) - max(start_s, since_s), 0.0)
            for start_s, end_s, power_w in self._planned
        )
        return steady_w * (until_s - since_s) + sum(planned_j)

    def _update(self) -> None:
        """Subtract what was drawn up to now."""
        now = self._env.now
        if now > self._updated_s:
            self._remaining_j -= self._drawn_j(now)
            self._updated_s = now
            self._planned = [load for load in self._planned if load[1] > now]

    def _empty_s(self) -> float:
        """Return when it will be empty if nothing changes; inf if never."""
        remaining_j, at_s = self._remaining_j, self._updated_s
        steady_w = sum(self._steady_w.values())
        changes_s = {time_s for load in self._planned for time_s in load[:2] if time_s > at_s}
        for until_s in [*sorted(changes_s), inf]:
            planned_w = (power_w for start_s, end_s, power_w in self._planned if start_s <= at_s < end_s)
            power_w = steady_w + sum(planned_w)
            if remaining_j <= 0:
                return at_s
            if power_w > 0 and at_s + remaining_j / power_w <= until_s:
                return at_s + remaining_j / power_w
            remaining_j -= power_w * (until_s - at_s) if power_w else 0.0
            at_s = until_s
        return inf

    def _schedule_check(self) -> None:
        """Schedule a check when it will be empty, unless an earlier one is scheduled."""
        empty_s = inf if self.empty else self._empty_s()
        if empty_s < self._due_s:
            self._due_s = empty_s
            delay_s = delay_to(self._env, empty_s)
            call_in(self._env, delay_s, lambda event: self._check(empty_s), LAST)

    def _check(self, due_s: float) -> None:
        """Report that it is empty, or schedule another check if less was drawn than planned."""
        if due_s != self._due_s:
            return
        self._due_s = inf
        self._update()
        if self._empty_s() <= self._env.now:
            self.empty = True
            self._on_empty()
        else:
            self._schedule_check()


class BatteryClient(IntermittentClient):
    """A client with a battery.

    The battery supplies idle power while the client takes part, and what its activities draw above that:
    the energy that the tables charge it with.
    """

    __slots__ = ("battery",)

    def __init__(self, *setup: Any, on_empty: Callable[[BatteryClient], None]) -> None:
        super().__init__(*setup)
        capacity_j = self.device.battery_j
        assert capacity_j is not None
        self.battery = Battery(self._env, capacity_j, lambda: on_empty(self))
        for channel in (self._up, self._down):
            if isinstance(channel, SharedChannel):
                channel.on_power = self.battery.set_load

    def _wake(self) -> None:
        super()._wake()
        self.battery.set_load("idle", self.device.power.idle_w)

    def _sleep(self) -> None:
        super()._sleep()
        self.battery.set_load("idle", 0.0)  # activities under way still draw energy

    def drop_out(self) -> None:
        """Cancel all activities, and the energy that they would have drawn."""
        super().drop_out()
        self.battery.cancel_loads()

    def _keep(self, activity: Event) -> None:
        super()._keep(activity)
        if isinstance(activity, Activity):
            self.battery.add_load(activity.load)
