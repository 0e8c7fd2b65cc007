"""The fluid model of transfers: their rates over shared links are max-min fair at every instant.

A flow gets the smallest of its own bound, the level of its access link and the level of its server link.
Flows of equal rate share one virtual time, so a change costs O(log n), and the next end is the first
entry of one heap. Max-min fairness over several links is reached by iterating over the links (Bertsekas
and Gallager, Data Networks, section 6.5.2).

Times are arguments; the module knows no events.
"""

from __future__ import annotations

from math import inf, isclose

from sflsim.clock.flows import AccessLink, Flow, FlowAggregate, FlowClass, ServerLink
from sflsim.clock.indexed_heap import IndexedHeap
from sflsim.clock.max_min_fair import Demand
from sflsim.clock.virtual_time import VirtualTime

LEVEL_RTOL = 1e-12  # levels that differ by less are equal but for rounding


class FluidModel:
    """All flows and shared links. Changes take effect in `reallocate`.

    A flow without a bound of its own must pass at least one limited link.
    """

    def __init__(self) -> None:
        self._flow_classes: dict[tuple[float, AccessLink | None, ServerLink], FlowClass] = {}
        self._ends: IndexedHeap[VirtualTime] = IndexedHeap()  # those without a leader, by next deadline in s
        self._changed_access_links: dict[AccessLink, None] = {}
        self._changed_server_links: dict[ServerLink, None] = {}

    @property
    def next_end_s(self) -> float:
        """When the next flow ends if nothing changes before; inf if none ends."""
        return self._ends.first_key

    @property
    def flows(self) -> list[Flow]:
        """All flows under way."""
        return [flow for flow_class in self._flow_classes.values() for flow in flow_class.deadlines]

    def start(
        self,
        flow: Flow,
        size_bytes: float,
        max_bytes_per_s: float,
        access_link: AccessLink | None,
        server_link: ServerLink,
        now_s: float,
    ) -> None:
        """Start a flow of `size_bytes`."""
        key = max_bytes_per_s, access_link, server_link
        flow_class = self._flow_classes.get(key)
        if flow_class is None:
            flow_class = self._flow_classes[key] = FlowClass(*key, now_s)
        flow.flow_class = flow_class
        flow.deadline_bytes = flow_class.attained_bytes(now_s) + size_bytes
        flow_class.deadlines.set(flow, flow.deadline_bytes)
        self._set_flow_count(flow_class, flow_class.flow_count + 1, now_s)
        self._reschedule(flow_class)

    def stop(self, flow: Flow, now_s: float) -> float:
        """Remove a flow; return the bytes that have not passed."""
        flow_class = flow.flow_class
        assert flow_class is not None
        flow.flow_class = None
        flow_class.deadlines.remove(flow)
        remaining_bytes = max(flow.deadline_bytes - flow_class.attained_bytes(now_s), 0.0)
        self._reschedule(flow_class)
        self._set_flow_count(flow_class, flow_class.flow_count - 1, now_s)
        return remaining_bytes

    def pop_ended(self, now_s: float) -> list[Flow]:
        """Remove the flows that have ended by now; return them in the order of their ends."""
        ended = []
        while self._ends.first_key <= now_s:
            first: VirtualTime | Flow = self._ends.first
            while isinstance(first, VirtualTime):
                first = first.deadlines.first
            self.stop(first, now_s)
            ended.append(first)
        return ended

    def set_capacity(self, link: AccessLink | ServerLink, capacity_bytes_per_s: float) -> None:
        """Change the capacity of a shared link."""
        link.allocator.capacity = capacity_bytes_per_s
        if isinstance(link, AccessLink):
            self._changed_access_links[link] = None
        else:
            self._changed_server_links[link] = None

    def reallocate(self, now_s: float) -> None:
        """Make all rates max-min fair from `now_s` on.

        Each link computes its level from the present levels of the others, until no level changes: the
        lowest level of all is right after the first pass, then the second lowest, and so on.
        """
        while self._changed_access_links or self._changed_server_links:
            while self._changed_access_links:
                self._reallocate_access_link(self._changed_access_links.popitem()[0], now_s)
            if self._changed_server_links:
                self._reallocate_server_link(self._changed_server_links.popitem()[0], now_s)

    def _reallocate_access_link(self, link: AccessLink, now_s: float) -> None:
        link.update_bounds()
        moved = link.allocator.reallocate()
        level = link.allocator.level
        if level < inf:
            for aggregate in link.aggregates.values():
                self._set_bound(aggregate, level, now_s)
        for flow_class in {**dict.fromkeys(demand.owner for demand in moved), **link.changed_classes}:
            self._assign(flow_class, link, now_s)
        link.changed_classes.clear()

    def _reallocate_server_link(self, link: ServerLink, now_s: float) -> None:
        before = link.allocator.level
        moved = link.allocator.reallocate()
        level = link.allocator.level
        if level < inf:
            link.set_rate(max(level, 0.0), now_s)
        for demand in moved:
            self._update_rate(demand, now_s)
        if level == inf:
            link.reset(now_s)  # nothing follows it
        self._reschedule(link)
        if not isclose(level, before, rel_tol=LEVEL_RTOL):
            self._changed_access_links.update(link.coupled_access_links)

    def _set_flow_count(self, flow_class: FlowClass, flow_count: int, now_s: float) -> None:
        """Change the number of flows of a class."""
        flow_class.server_link.flow_count += flow_count - flow_class.flow_count
        link, flow_class.flow_count = flow_class.access_link, flow_count
        if link is None:
            self._set_weight(flow_class, flow_count, now_s)
            if not flow_count:
                del self._flow_classes[flow_class.max_bytes_per_s, None, flow_class.server_link]
            return
        link.allocator.set_weight(flow_class.access_demand, flow_count)
        link.flow_classes[flow_class] = link.changed_classes[flow_class] = None
        self._changed_access_links[link] = None

    def _assign(self, flow_class: FlowClass, link: AccessLink, now_s: float) -> None:
        """Let a class that is bottlenecked at its access link follow the link's aggregate; else not."""
        server_link = flow_class.server_link
        aggregate = link.aggregates.get(server_link)
        if aggregate is None:
            aggregate = link.aggregates[server_link] = FlowAggregate(server_link, inf, now_s)
        if not aggregate.server_demand.weight:
            aggregate.server_demand.bound = link.allocator.level
        count = flow_class.flow_count if flow_class.access_demand.bottlenecked else 0
        weight = aggregate.server_demand.weight - flow_class.aggregated_count + count
        flow_class.aggregated_count = count
        self._set_weight(flow_class, flow_class.flow_count - count, now_s)
        self._set_weight(aggregate, weight, now_s)
        if count:
            flow_class.follow(aggregate, now_s)
            self._reschedule(flow_class)
        if weight:
            self._reschedule(aggregate)
        else:
            aggregate.reset(now_s)
        if not flow_class.flow_count:
            del link.flow_classes[flow_class]
            del self._flow_classes[flow_class.max_bytes_per_s, link, server_link]

    def _set_weight(self, aggregate: FlowAggregate, weight: int, now_s: float) -> None:
        """Change how many flows an aggregate has at its server link."""
        demand, link = aggregate.server_demand, aggregate.server_link
        if demand.weight == weight:
            return
        entered = not demand.weight
        link.allocator.set_weight(demand, weight)
        self._changed_server_links[link] = None
        if entered:
            self._update_rate(demand, now_s)
        elif not weight:
            self._ends.remove(aggregate)
            link.deadlines.remove(aggregate)

    def _set_bound(self, aggregate: FlowAggregate, bound: float, now_s: float) -> None:
        """Bound an aggregate by the level of its access link."""
        demand = aggregate.server_demand
        if not demand.weight or demand.bound == bound:
            return
        aggregate.server_link.allocator.set_bound(demand, bound)
        self._changed_server_links[aggregate.server_link] = None
        self._update_rate(demand, now_s)

    def _update_rate(self, demand: Demand[FlowAggregate], now_s: float) -> None:
        """Let an aggregate follow its server link if it is bottlenecked there, else advance at its bound."""
        aggregate = demand.owner
        if demand.bottlenecked:
            self._ends.remove(aggregate)
            aggregate.follow(aggregate.server_link, now_s)
        else:
            aggregate.set_rate(max(demand.bound, 0.0), now_s)
        self._reschedule(aggregate)

    def _reschedule(self, virtual_time: VirtualTime) -> None:
        """Pass a new first deadline on from leader to leader; the last one's is scheduled."""
        last: VirtualTime | None = virtual_time
        while last is not None and last.leader is not None:
            last = last.update_leader()
        if last is None:
            return
        next_s = last.next_deadline_s()
        if next_s < inf:
            self._ends.set(last, next_s)
        else:
            self._ends.remove(last)
