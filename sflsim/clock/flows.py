"""Flows and the shared links that they pass through: the data of the fluid model.

A flow is one transfer under way. It passes one server link (one direction of a server's link) and, before
it, at most one access link (an access point, or one direction of it). Flows with the same bound, access
link and server link have the same rate at all times; they form a flow class.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from sflsim.clock.max_min_fair import Demand, MaxMinAllocator
from sflsim.clock.virtual_time import VirtualTime


class FlowAggregate(VirtualTime):
    """Flows through one server link that have the same rate there: one demand on it."""

    __slots__ = ("server_demand", "server_link")

    def __init__(self, server_link: ServerLink, bound_bytes_per_s: float, now_s: float) -> None:
        super().__init__(now_s)
        self.server_link = server_link
        self.server_demand: Demand[FlowAggregate] = Demand(self, bound_bytes_per_s)


class ServerLink(VirtualTime):
    """One direction of a server's link, `inf` if unlimited; its virtual time advances at the water level."""

    __slots__ = ("allocator", "coupled_access_links", "flow_count")

    def __init__(self, capacity_bytes_per_s: float, now_s: float = 0.0) -> None:
        super().__init__(now_s)
        self.allocator: MaxMinAllocator[FlowAggregate] = MaxMinAllocator(capacity_bytes_per_s)
        self.flow_count = 0  # includes flows that the allocator does not know yet
        self.coupled_access_links: dict[AccessLink, None] = {}
        """Access links whose flows pass this server link and others."""

    @property
    def busy(self) -> bool:
        """Whether any flow passes it."""
        return self.flow_count > 0

    @property
    def throughput_bytes_per_s(self) -> float:
        """The sum of the rates of its flows."""
        return self.allocator.allocated


class FlowClass(FlowAggregate):
    """Flows with the same bound, access link and server link."""

    __slots__ = ("access_demand", "access_link", "aggregated_count", "flow_count", "max_bytes_per_s")

    def __init__(
        self, max_bytes_per_s: float, access_link: AccessLink | None, server_link: ServerLink, now_s: float
    ) -> None:
        super().__init__(server_link, max_bytes_per_s, now_s)
        self.max_bytes_per_s = max_bytes_per_s
        self.access_link = access_link
        self.access_demand: Demand[FlowClass] = Demand(self, max_bytes_per_s)
        self.flow_count = 0
        self.aggregated_count = 0  # of its flows, those in the access link's aggregate


class AccessLink:
    """An access point, or one direction of it: a capacity that the flows of its clients share."""

    __slots__ = ("aggregates", "allocator", "changed_classes", "coupled_server_links", "flow_classes")

    def __init__(self, capacity_bytes_per_s: float) -> None:
        self.allocator: MaxMinAllocator[FlowClass] = MaxMinAllocator(capacity_bytes_per_s)
        self.aggregates: dict[ServerLink, FlowAggregate] = {}
        """Per server link, the flows that are bottlenecked at this access link."""
        self.flow_classes: dict[FlowClass, None] = {}
        self.changed_classes: dict[FlowClass, None] = {}  # in number or bound, since the last reallocation
        self.coupled_server_links: dict[ServerLink, None] = {}
        """The server links in use, if there are several."""

    @property
    def busy(self) -> bool:
        """Whether any flow passes it."""
        return any(flow_class.flow_count for flow_class in self.flow_classes)

    @property
    def throughput_bytes_per_s(self) -> float:
        """The sum of the rates of its flows."""
        return sum(each.flow_count * each.rate_bytes_per_s for each in self.flow_classes)

    def update_bounds(self) -> None:
        """Bound each flow by the level of its server link, if several server links are in use."""
        classes = [flow_class for flow_class in self.flow_classes if flow_class.flow_count]
        server_links = dict.fromkeys(flow_class.server_link for flow_class in classes)
        if len(server_links) < 2 and not self.coupled_server_links:
            return
        for server_link in self.coupled_server_links:
            del server_link.coupled_access_links[self]
        self.coupled_server_links = server_links if len(server_links) > 1 else {}
        for server_link in self.coupled_server_links:
            server_link.coupled_access_links[self] = None
        for flow_class in classes:
            level = flow_class.server_link.allocator.level if self.coupled_server_links else inf
            bound = min(flow_class.max_bytes_per_s, level)
            if bound != flow_class.access_demand.bound:
                self.allocator.set_bound(flow_class.access_demand, bound)
                self.changed_classes[flow_class] = None


class Flow:
    """One transfer under way; it ends when its class has attained `deadline_bytes`."""

    __slots__ = ("deadline_bytes", "flow_class", "on_end")

    def __init__(self, on_end: Callable[[], None] | None = None) -> None:
        self.on_end = on_end
        self.flow_class: FlowClass | None = None
        self.deadline_bytes = 0.0
