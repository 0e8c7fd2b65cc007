"""Shared media on the clock: the servers' links and the access points, and the flows through them.

What is a fluid in clock.fluid meets simulated time here: changes of one instant take effect
together, at its end, and one event waits for the next end.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from typing import Any

from sflsim.clock.engine import LAST, Environment, Event, Timeout, call_in
from sflsim.clock.fluid import Flow, Fluid, Leaf, Trunk
from sflsim.fleet.instants import settled_s
from sflsim.fleet.profiles import Profile
from sflsim.rows import Use

Route = tuple[Leaf | None, Trunk]


class Media:
    """All shared media of a run; `begin` and `end` are the life of one flow.

    `use` gets a row (medium, time in s, byte/s) for each change of what flows through a medium.
    """

    def __init__(self, env: Environment, use: list[Use] | None = None) -> None:
        self.env = env
        self._use = use
        self._used_bytes_per_s: dict[Leaf | Trunk, float] = {}  # as told last, of those in use
        self._names: dict[Leaf | Trunk, str] = {}
        self._fluid = Fluid()
        self._settling = False
        self._endless = False
        self._due_s = inf  # when the earliest event that waits for an end fires
        self._profiles: dict[Leaf | Trunk, Profile] = {}
        self._changing: set[Leaf | Trunk] = set()

    def medium(self, kind: type[Leaf] | type[Trunk], rate: float | Profile, name: str = "") -> Any:
        """Return a new medium with this capacity."""
        medium = kind(rate.value_at(self.env.now) if isinstance(rate, Profile) else rate)
        self._names[medium] = name
        if isinstance(rate, Profile):
            self._profiles[medium] = rate
        return medium

    def begin(
        self, on_end: Callable[[], None], size_bytes: float, rate: float | Profile, route: Route
    ) -> Flow | None:
        """Let `size_bytes` flow at `rate` at most; `on_end` is called when all has passed.

        Returns None where nothing limits it, and it has passed at once.
        """
        leaf, trunk = route
        cap = rate.value_at(self.env.now) if isinstance(rate, Profile) else rate
        nowhere = cap == inf and leaf is None and trunk.pool.capacity == inf
        if nowhere or not isfinite(self.env.now):
            on_end()
            return None
        flow = Flow(on_end)
        self._fluid.start(flow, size_bytes, cap, leaf, trunk, self.env.now)
        if isinstance(rate, Profile):
            self._at(rate.next_change(self.env.now), lambda: self._change_cap(flow, rate, route))
        for medium in filter(None, route):
            if medium in self._profiles and medium not in self._changing:
                self._change_capacity(medium)
            if self._use is not None and medium in self._names:
                self._used_bytes_per_s.setdefault(medium, 0.0)
        self._touch()
        return flow

    def end(self, flow: Flow) -> float:
        """Take a flow out before its end; return the bytes that have not passed."""
        left_bytes = self._fluid.stop(flow, self.env.now)
        self._touch()
        return left_bytes

    def _change_cap(self, flow: Flow, rate: Profile, route: Route) -> None:
        """Go on with a flow at the rate that its profile has now."""
        if flow.cohort is None:
            return
        now = self.env.now
        left_bytes = self._fluid.stop(flow, now)
        self._fluid.start(flow, left_bytes, rate.value_at(now), *route, now)
        self._at(rate.next_change(now), lambda: self._change_cap(flow, rate, route))
        self._touch()

    def _change_capacity(self, medium: Leaf | Trunk) -> None:
        """Give a medium the capacity that its profile has now, and so on as long as it is in use."""
        self._changing.discard(medium)
        if not medium.busy:
            return
        profile, now = self._profiles[medium], self.env.now
        self._fluid.resize(medium, profile.value_at(now))
        if profile.next_change(now) < inf:
            self._changing.add(medium)
            self._at(profile.next_change(now), lambda: self._change_capacity(medium))
        self._touch()

    def _at(self, time_s: float, act: Callable[[], None]) -> None:
        if time_s < inf:
            change = Timeout(self.env, max(time_s - self.env.now, 0.0))
            change.callbacks.append(lambda event: self._after_ends(act))

    def _after_ends(self, act: Callable[[], None]) -> None:
        """Act when what ends in this instant has ended: a flow all but done meets no gap of a trace."""
        now, next_s = self.env.now, self._fluid.next_s
        if now < next_s <= settled_s(now):
            call_in(self.env, next_s - now, lambda event: act(), LAST)
        else:
            act()

    def _touch(self) -> None:
        """Settle at the end of this instant."""
        if not self._settling:
            self._settling = True
            call_in(self.env, 0.0, self._settle, LAST)

    def _settle(self, event: Event) -> None:
        self._settling = False
        self._fluid.settle(self.env.now)
        if self._use is not None:
            self._tell(self._use)
        self._wait()

    def _tell(self, use: list[Use]) -> None:
        """Write down what flows through each medium from now on, where that has changed."""
        now = self.env.now
        for medium, before in list(self._used_bytes_per_s.items()):
            used = medium.used_bytes_per_s if medium.busy else 0.0
            if used != before:
                self._used_bytes_per_s[medium] = used
                use.append(Use(self._names[medium], now, used))
            if not used:
                del self._used_bytes_per_s[medium]

    def _wait(self) -> None:
        """Have an event wait for the next end, unless one fires before."""
        next_s = self._fluid.next_s
        if next_s < self._due_s:
            self._due_s = next_s
            delay_s = max(next_s - self.env.now, 0.0)
            call_in(self.env, delay_s, lambda event: self._end_due(next_s), LAST)
        elif next_s == inf and not self._endless and self._fluid.flows:
            self._endless = True
            call_in(self.env, inf, self._end_endless, LAST)

    def _end_due(self, due_s: float) -> None:
        """End the flows that are due; an event that is earlier than the next end waits once more."""
        if due_s != self._due_s:
            return
        self._due_s = inf
        over = self._fluid.ended(max(due_s, self.env.now))
        for flow in over:
            assert flow.on_end is not None
            flow.on_end()
        if over:
            self._touch()
        else:
            self._wait()

    def _end_endless(self, event: Event) -> None:
        """End what takes infinitely long, as any other work that does: when nothing else is left."""
        for flow in self._fluid.flows:
            assert flow.on_end is not None
            flow.on_end()
