"""Which media the messages of a client pass through, and the channels of its link."""

from __future__ import annotations

from math import inf

from sflsim.clock.engine import Environment
from sflsim.clock.fluid import Leaf, Trunk
from sflsim.clock.network import Channel, SharedChannel
from sflsim.clock.shared_links import Media, Route
from sflsim.clock.spans import Recorder
from sflsim.fleet.devices import Device
from sflsim.fleet.links.access_points import AccessPoint
from sflsim.fleet.links.directions import Direction
from sflsim.fleet.links.links import Link
from sflsim.fleet.profiles import Profile
from sflsim.streams import Stream


class Network:
    """The servers' links and the access points of a run; media are made when first used.

    Without a link of its own the Fed Server is reached through the Split Server's. What goes over a
    server's link travels for its latency, too.
    """

    def __init__(self, env: Environment, recorder: Recorder, server: Link, fed: Link | None = None) -> None:
        self._env = env
        self._recorder = recorder
        self._media = Media(env, recorder.use if recorder.into is None else None)
        self._open = Trunk(inf)
        self._trunks = [self._trunks_of(server, "server.link")]
        self._trunks.append(self._trunks[0] if fed is None else self._trunks_of(fed, "server.fed.link"))
        self._beyond_s = server.latency_s(0), (fed or server).latency_s(0)
        self._leaves: dict[tuple[str, str], Leaf] = {}

    def channels(self, device: Device) -> tuple[Channel | SharedChannel, Channel | SharedChannel]:
        """Return what a device sends through and what it receives through."""
        link, power = device.link, device.power
        send_w = max(power.send_w - power.idle_w, 0.0)
        receive_w = max(power.receive_w - power.idle_w, 0.0)
        up = self._channel("uplink", device, link.up, send_w)
        return up, self._channel("downlink", device, link.down, receive_w)

    def _channel(
        self, activity: str, device: Device, direction: Direction, power_w: float
    ) -> Channel | SharedChannel:
        leaf = self._leaf(device.access_point, "up" if activity == "uplink" else "down")
        routes: list[Route] = [(leaf, trunks[activity]) for trunks in self._trunks]
        if leaf is None and all(trunk is self._open for _, trunk in routes):
            return Channel(
                self._env, self._recorder, activity, device.name, direction, power_w, self._beyond_s
            )
        both = routes[0], routes[1]
        return SharedChannel(
            self._media, self._recorder, activity, device.name, direction, power_w, both, self._beyond_s
        )

    def _trunks_of(self, link: Link, name: str) -> dict[str, Trunk]:
        """Return what a server receives with (clients' uplinks) and what it sends with."""
        down, up = self._trunk(link.down, f"{name}.down"), self._trunk(link.up, f"{name}.up")
        return {"uplink": down, "downlink": up}

    def _trunk(self, direction: Direction, name: str) -> Trunk:
        rate = direction.rate_of(0) if isinstance(direction.rate, Stream) else direction.rate
        if rate == inf:
            return self._open
        trunk: Trunk = self._media.medium(Trunk, rate, name)
        return trunk

    def _leaf(self, point: AccessPoint | None, way: str) -> Leaf | None:
        if point is None:
            return None
        rates: dict[str, float | Profile] = {"shared": point.shared, "up": point.up, "down": point.down}
        kind = way if point.shared == inf else "shared"
        if rates[kind] == inf:
            return None
        key = point.name, kind
        if key not in self._leaves:
            name = f"access point {point.name}" + ("" if kind == "shared" else f" {kind}")
            self._leaves[key] = self._media.medium(Leaf, rates[kind], name)
        return self._leaves[key]
