"""Shared links on the clock: server links and access points, and the flows through them.

The fluid model meets simulated time here. Changes of one instant take effect together, at its end, and
one event waits for the next end of a flow.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from typing import Any

from sflsim.clock.engine import LAST, Environment, Event, Timeout, call_in
from sflsim.clock.flows import AccessLink, Flow, ServerLink
from sflsim.clock.fluid import FluidModel
from sflsim.errors import refused
from sflsim.fleet.instants import settled_s
from sflsim.fleet.profiles import Profile
from sflsim.rows import LinkThroughput

MAX_CHANGES, LONG_S = 20_000, 1e6
"""Changes of rates and seconds without a start or an end of a message, both, after which none is awaited."""
_Link = AccessLink | ServerLink
Route = tuple[AccessLink | None, ServerLink]


class SharedLinks:
    """All shared links of a run.

    `throughput`, if given, gets a row for each change of what passes a link.
    """

    def __init__(self, env: Environment, throughput: list[LinkThroughput] | None = None) -> None:
        self.env = env
        self._throughput = throughput
        self._recorded_bytes_per_s: dict[_Link, float] = {}  # of the links in use
        self._names: dict[_Link, str] = {}
        self._fluid = FluidModel()
        self._reallocating = False  # at the end of this instant
        self._endless = False
        self._due_s = inf  # when the earliest event that waits for an end fires
        self._profiles: dict[_Link, Profile] = {}
        self._changing: set[_Link] = set()
        self._quiet_since_s = 0.0  # when a flow last started or ended
        self._changes = 0  # of rates and capacities since then

    def add(
        self, kind: type[AccessLink] | type[ServerLink], rate_bytes_per_s: float | Profile, name: str = ""
    ) -> Any:
        """Return a new link of this kind and capacity."""
        link = kind(_rate_at(rate_bytes_per_s, self.env.now))
        self._names[link] = name
        if isinstance(rate_bytes_per_s, Profile):
            self._profiles[link] = rate_bytes_per_s
        return link

    def is_constant(self, link: _Link) -> bool:
        """Tell whether a link's capacity never changes."""
        return link not in self._profiles

    def name_of(self, link: _Link) -> str:
        """Return the name under which a link's throughput is recorded; empty if it is not."""
        return "" if self._throughput is None else self._names.get(link, "")

    def take_over(self, link: _Link, bytes_per_s: float) -> None:
        """Record a link's throughput from now on; `bytes_per_s` is the last that is known of it."""
        if bytes_per_s:
            self._recorded_bytes_per_s[link] = bytes_per_s
            self._reallocate_later()

    def start(
        self, on_end: Callable[[], None], size_bytes: float, rate_bytes_per_s: float | Profile, route: Route
    ) -> Flow | None:
        """Start a flow of at most this rate; `on_end` is called when all bytes have passed.

        Returns None if nothing limits the flow: it has ended at once.
        """
        now, (access_link, server_link) = self.env.now, route
        max_bytes_per_s = _rate_at(rate_bytes_per_s, now)
        unlimited = max_bytes_per_s == inf and access_link is None and server_link.allocator.capacity == inf
        if unlimited or not isfinite(now):
            on_end()
            return None
        self._quiet_since_s, self._changes = now, 0
        flow = Flow(on_end)
        self._fluid.start(flow, size_bytes, max_bytes_per_s, access_link, server_link, now)
        if isinstance(rate_bytes_per_s, Profile):
            profile = rate_bytes_per_s
            self._at(profile.next_change(now), lambda: self._change_rate(flow, profile, route))
        for link in filter(None, route):
            if link in self._profiles and link not in self._changing:
                self._change_capacity(link)
            if self._throughput is not None and link in self._names:
                self._recorded_bytes_per_s.setdefault(link, 0.0)
        self._reallocate_later()
        return flow

    def stop(self, flow: Flow) -> float:
        """Stop a flow before its end; return the bytes that have not passed."""
        remaining_bytes = self._fluid.stop(flow, self.env.now)
        self._reallocate_later()
        return remaining_bytes

    def _change_rate(self, flow: Flow, profile: Profile, route: Route) -> None:
        """Continue a flow at the rate that its profile has now."""
        if flow.flow_class is None:
            return
        now = self.env.now
        remaining_bytes = self._fluid.stop(flow, now)
        self._fluid.start(flow, remaining_bytes, profile.value_at(now), *route, now)
        self._at(profile.next_change(now), lambda: self._change_rate(flow, profile, route))
        self._reallocate_later()

    def _change_capacity(self, link: _Link) -> None:
        """Give a link the capacity that its profile has now; repeat at each change while it is in use."""
        self._changing.discard(link)
        if not link.busy:
            return
        profile, now = self._profiles[link], self.env.now
        self._fluid.set_capacity(link, profile.value_at(now))
        if profile.next_change(now) < inf:
            self._changing.add(link)
            self._at(profile.next_change(now), lambda: self._change_capacity(link))
        self._reallocate_later()

    def _at(self, time_s: float, act: Callable[[], None]) -> None:
        if time_s < inf:
            change = Timeout(self.env, max(time_s - self.env.now, 0.0))
            change.callbacks.append(lambda event: self._after_ends(act))

    def _after_ends(self, act: Callable[[], None]) -> None:
        """Act after the flows that end in this instant: an almost ended flow misses a gap of a trace.

        Raises:
            ScenarioError: the trace has changed too often since a flow last started or ended.
        """
        now, next_s = self.env.now, self._fluid.next_end_s
        self._changes += 1
        if self._changes > MAX_CHANGES and now - self._quiet_since_s > LONG_S:
            found = f"no message that starts or ends in {LONG_S:g} s, while rates change {MAX_CHANGES} times"
            raise refused("fleet", found, "messages that arrive sooner, or a trace of longer steps")
        if now < next_s <= settled_s(now):
            call_in(self.env, next_s - now, lambda event: act(), LAST)
        else:
            act()

    def _reallocate_later(self) -> None:
        """Reallocate at the end of this instant."""
        if not self._reallocating:
            self._reallocating = True
            call_in(self.env, 0.0, self._reallocate, LAST)

    def _reallocate(self, event: Event) -> None:
        self._reallocating = False
        self._fluid.reallocate(self.env.now)
        if self._throughput is not None:
            self._record(self._throughput)
        self._schedule_end()

    def _record(self, rows: list[LinkThroughput]) -> None:
        """Record the throughput of each link from now on, if it has changed."""
        now = self.env.now
        for link, before in list(self._recorded_bytes_per_s.items()):
            bytes_per_s = link.throughput_bytes_per_s if link.busy else 0.0
            if bytes_per_s != before:
                self._recorded_bytes_per_s[link] = bytes_per_s
                rows.append(LinkThroughput(self._names[link], now, bytes_per_s))
            if not bytes_per_s:
                del self._recorded_bytes_per_s[link]

    def _schedule_end(self) -> None:
        """Schedule an event at the next end of a flow, unless an earlier event is scheduled."""
        next_s = self._fluid.next_end_s
        if next_s < self._due_s:
            self._due_s = next_s
            delay_s = max(next_s - self.env.now, 0.0)
            call_in(self.env, delay_s, lambda event: self._end_due(next_s), LAST)
        elif next_s == inf and not self._endless and self._fluid.flows:
            self._endless = True
            call_in(self.env, inf, self._end_endless, LAST)

    def _end_due(self, due_s: float) -> None:
        """End the flows that are due; if the next end is later by now, schedule another event."""
        if due_s != self._due_s:
            return
        self._due_s = inf
        ended = self._fluid.pop_ended(max(due_s, self.env.now))
        if ended:
            self._quiet_since_s, self._changes = self.env.now, 0
        for flow in ended:
            assert flow.on_end is not None
            flow.on_end()
        if ended:
            self._reallocate_later()
        else:
            self._schedule_end()

    def _end_endless(self, event: Event) -> None:
        """End the flows of rate 0 at time inf, when no other event is left."""
        for flow in self._fluid.flows:
            assert flow.on_end is not None
            flow.on_end()


def _rate_at(rate_bytes_per_s: float | Profile, now_s: float) -> float:
    return rate_bytes_per_s.value_at(now_s) if isinstance(rate_bytes_per_s, Profile) else rate_bytes_per_s
