"""The network of a run: which shared links the messages of a client pass, and its two channels."""

from __future__ import annotations

from math import inf
from operator import attrgetter

from sflsim.clock.channel import Channel
from sflsim.clock.engine import Environment
from sflsim.clock.flows import AccessLink, ServerLink
from sflsim.clock.server_channel import Contention, ServerChannel, fits
from sflsim.clock.shared_channel import SharedChannel
from sflsim.clock.shared_links import Route, SharedLinks
from sflsim.clock.spans import Recorder
from sflsim.fleet.devices import Device
from sflsim.fleet.links.access_points import AccessPoint
from sflsim.fleet.links.directions import Direction
from sflsim.fleet.links.links import Link
from sflsim.fleet.profiles import Profile
from sflsim.rows import LinkThroughput
from sflsim.streams import Stream


class Network:
    """The servers' links and the access points; access links are made at their first use.

    Without a link of its own (`fed`), the Fed Server is reached through the Split Server's. The latency of
    a server's link is added to that of the client's.
    """

    def __init__(self, env: Environment, recorder: Recorder, server: Link, fed: Link | None = None) -> None:
        self._env = env
        self._recorder = recorder
        self._throughput: list[LinkThroughput] | None = [] if recorder.sink is None else None
        self._links = SharedLinks(env, self._throughput)
        self._unlimited = ServerLink(inf)
        self._server_links = [self._both_directions(server, "server.link")]
        self._server_links.append(
            self._server_links[0] if fed is None else self._both_directions(fed, "server.fed.link")
        )
        self._contentions = {
            activity: Contention(self._links, link, self._server_links[1][activity])
            for activity, link in self._server_links[0].items()
        }
        self._server_latency_s = server.latency_s(0), (fed or server).latency_s(0)
        self._access_links: dict[tuple[str, str], AccessLink] = {}

    def channels(
        self, device: Device, may_stop: bool = False
    ) -> tuple[Channel | SharedChannel, Channel | SharedChannel]:
        """Return the channels of a device's uplink and downlink.

        Where a message `may_stop` and go on later, or is paid for while it is sent, it is always a transfer.
        """
        link, power = device.link, device.power
        send_w = max(power.send_w - power.idle_w, 0.0)
        receive_w = max(power.receive_w - power.idle_w, 0.0)
        uplink = self._channel("uplink", device, link.up, send_w, may_stop)
        return uplink, self._channel("downlink", device, link.down, receive_w, may_stop)

    @property
    def link_throughput(self) -> list[LinkThroughput]:
        """The throughput of the shared links up to now, in the order of time; none where no span is kept."""
        unshared = (row for each in self._contentions.values() for row in each.throughput())
        return sorted([*(self._throughput or ()), *unshared], key=attrgetter("time_s"))

    def _channel(
        self, activity: str, device: Device, direction: Direction, power_w: float, may_stop: bool
    ) -> Channel | SharedChannel:
        access_link = self._access_link(device.access_point, "up" if activity == "uplink" else "down")
        split, fed = (server_links[activity] for server_links in self._server_links)
        common = self._recorder, activity, device.name, direction, power_w
        if access_link is None and split is self._unlimited and fed is self._unlimited:
            return Channel(self._env, *common, self._server_latency_s)
        contention = self._contentions[activity]
        if access_link is None and fits(direction) and not may_stop:
            return ServerChannel(contention, *common, self._server_latency_s)
        contention.share()
        routes: tuple[Route, Route] = (access_link, split), (access_link, fed)
        return SharedChannel(self._links, *common, routes, self._server_latency_s)

    def _both_directions(self, link: Link, name: str) -> dict[str, ServerLink]:
        """Return the server's link by the clients' activity: it receives uplinks and sends downlinks."""
        down, up = self._server_link(link.down, f"{name}.down"), self._server_link(link.up, f"{name}.up")
        return {"uplink": down, "downlink": up}

    def _server_link(self, direction: Direction, name: str) -> ServerLink:
        rate = direction.rate_of(0) if isinstance(direction.rate, Stream) else direction.rate
        if rate == inf:
            return self._unlimited
        link: ServerLink = self._links.add(ServerLink, rate, name)
        return link

    def _access_link(self, point: AccessPoint | None, direction: str) -> AccessLink | None:
        if point is None:
            return None
        rates: dict[str, float | Profile] = {"shared": point.shared, "up": point.up, "down": point.down}
        kind = direction if point.shared == inf else "shared"
        if rates[kind] == inf:
            return None
        key = point.name, kind
        if key not in self._access_links:
            name = f"access point {point.name}" + ("" if kind == "shared" else f" {kind}")
            self._access_links[key] = self._links.add(AccessLink, rates[kind], name)
        return self._access_links[key]
