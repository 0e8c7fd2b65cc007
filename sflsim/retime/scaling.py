"""Scenarios with one rate or delay of their fleet or server scaled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sflsim.fleet.catalog import Table, entries
from sflsim.fleet.groups import FleetConfig
from sflsim.fleet.own_catalog import CatalogConfig
from sflsim.retime.rebuild import rebuilt
from sflsim.scenario.schema import Scenario
from sflsim.units import BASE_UNITS, NoQuantity, measure

Data = dict[str, Any]
Change = Callable[[Data, float], None]
DIRECTIONS = ("up", "down", "shared")
"""Rates of a link or an access point; unlimited ones stay unlimited."""
COMPUTING = ("compute", "forward")
LATENCY = ("latency", "jitter")
TRACES = ("trace", "mahimahi")
"""Kinds of a rate whose values are in a file, with a factor `scale`."""
SET_BY_EVENTS = {
    "compute": ("device.compute",),
    "speed": ("device.speed",),
    "up": ("link.up",),
    "down": ("link.down",),
    "bandwidth": ("link.up", "link.down"),
}
"""By key of a device or link, the keys of the events that replace it."""


def varied(scenario: Scenario, change: Change, factor: float) -> Scenario:
    """Return the scenario after `change` by `factor`; groups keep the names that key their draws."""
    data = scenario.model_dump(mode="json", by_alias=True)
    data = {key: value for key, value in data.items() if value is not None}
    for group, name in zip(data["fleet"]["groups"], scenario.fleet.group_names(), strict=True):
        group["name"] = name  # its default follows the device; draws follow the name
    change(data, factor)
    return rebuilt(scenario, data)


def less_is_better(assumption: str) -> bool:
    """Tell whether less of an assumption is better: of a time, not of a rate."""
    return assumption == "stragglers" or assumption.startswith("latency ")


def assumptions(scenario: Scenario) -> Iterator[tuple[str, Change]]:
    """Yield the assumptions of a scenario about its fleet and server, and how to scale each."""
    names, fleet = scenario.fleet.group_names(), scenario.fleet
    for index, (name, group) in enumerate(zip(names, fleet.groups, strict=True)):
        whose = f"of group {name}" if len(names) > 1 else "of the devices"
        yield f"computing {whose}", scaling(index, "device", "devices", *COMPUTING)
        link = described(group.link.model_dump(mode="json"), "links", scenario.catalog)
        for part, keys in link_parts(link):
            yield f"{part} {whose}", scaling(index, "link", "links", *keys)
        if has_latency(link):
            yield f"latency {whose}", scaling(index, "link", "links", *LATENCY)
    if has_delays(fleet):
        yield "stragglers", scale_stragglers
    if scenario.server.takes_time:
        yield "server.compute", lambda data, factor: scale(data["server"], "compute", factor)
    for name in fleet.access_points:
        yield f"access point {name}", scaling_access_point(name)
    if scenario.server.fed:
        yield "link of the Fed Server", scaling_server_link("fed")
    if has_latency(described(scenario.server.link.model_dump(mode="json"), "links", None)):
        yield "latency of the server's link", scaling_server_link(keys=LATENCY)


def link_parts(link: Data) -> list[tuple[str, tuple[str, ...]]]:
    """Return the name and keys of each part of a link whose rate can be scaled; `link` is a mapping.

    Of a radio channel, bandwidth W and power P together scale the rate W log2(1 + P h / (W N0)).
    """
    name = "link" if link.get("down") == "shannon" else "uplink"
    channel = [(name, ("bandwidth", "power"))] if link.get("kind") == "shannon" else []
    limited = [key for key in ("up", "down") if link.get(key) not in (None, "unlimited", "shannon")]
    return channel + [(f"{key}link", (key,)) for key in limited]


def has_latency(link: Data) -> bool:
    """Tell whether a link, given as a mapping, has a latency above zero."""
    times = (link.get(key) for key in LATENCY)
    return any(isinstance(time, dict) or bool(time and measure(str(time), BASE_UNITS)[0]) for time in times)


def has_delays(fleet: FleetConfig) -> bool:
    """Tell whether some straggler is additive; factors are bare numbers, which are not scaled."""
    stragglers = (fleet.straggler, *(group.straggler for group in fleet.groups))
    return any(straggler is not None and straggler.effect == "additive" for straggler in stragglers)


def described(part: Any, table: Table, own: CatalogConfig | None) -> Any:
    """Return a device or link as a mapping, also if it is given by its name in a catalog."""
    if not isinstance(part, str):
        return part
    known = {**entries(table), **(own.own()[table] if own else {})}
    return known[part].mapping()


def scaling(index: int, part: str, table: Table, *keys: str) -> Change:
    """Return the change that scales keys of the device or link of a group, given by its index.

    The rates that events set for the group are scaled, too.
    """

    def change(data: Data, factor: float) -> None:
        group = data["fleet"]["groups"][index]
        own = CatalogConfig.model_validate(data["catalog"]) if data.get("catalog") else None
        group[part] = described(group[part], table, own)
        there = keys
        if "compute" in keys and group[part].get("profile"):  # a factor on what was measured as well
            there, group[part] = ("speed",), {"speed": 1.0, **group[part]}
        for key in there:
            scale(group[part], key, factor)
        _scale_events(data["fleet"], group["name"], _set_by_events(there), factor)

    return change


def _set_by_events(keys: Sequence[str]) -> set[str]:
    return {rate for key in keys for rate in SET_BY_EVENTS.get(key, ())}


def _scale_events(fleet: Data, group: str, rates: set[str], factor: float) -> None:
    """Scale the rates that events set for a group; an event for all groups is split into one per group."""
    events = []
    for event in fleet.get("events", ()):
        new = {key: value for key, value in (event.get("set") or {}).items() if value is not None}
        if not rates & new.keys():
            events.append(event)
            continue
        wider = {key: scaled(value, factor) if key in rates else value for key, value in new.items()}
        named = event.get("group")
        for name in [named] if named else [other["name"] for other in fleet["groups"]]:
            events.append({**event, "group": name, "set": wider if name == group else new})
    fleet["events"] = events


def scaling_access_point(name: str) -> Change:
    """Return the change that scales the rates of an access point."""

    def change(data: Data, factor: float) -> None:
        for key in DIRECTIONS:
            scale(data["fleet"]["access_points"][name], key, factor)

    return change


def scaling_server_link(*below: str, keys: Sequence[str] = DIRECTIONS) -> Change:
    """Return the change that scales keys of the server's link, or of the link `below`; default: rates."""

    def change(data: Data, factor: float) -> None:
        server = data["server"]
        for key in below:
            server = server[key]
        if isinstance(server["link"], str):
            server["link"] = entries("links")[server["link"]].mapping()
        for key in keys:
            scale(server["link"], key, factor)

    return change


def scale_stragglers(data: Data, factor: float) -> None:
    """Scale the slowdowns of the fleet and of its groups."""
    for part in (data["fleet"], *data["fleet"]["groups"]):
        if part.get("straggler"):
            part["straggler"] = scaled(part["straggler"], factor)


def scale(data: Data, key: str, factor: float) -> None:
    """Scale the value of one key in place, if there is one."""
    if key in data:
        data[key] = scaled(data[key], factor)


def scaled(value: Any, factor: float) -> Any:
    """Return a quantity, a distribution's quantities, a trace or rates by kind, times `factor`."""
    if isinstance(value, dict) and "kind" not in value:
        slower = dict.fromkeys(("per_operation", "per_pass"), 1 / factor)
        return {key: scaled(item, slower.get(key, factor)) for key, item in value.items()}
    if isinstance(value, dict) and value.get("kind") in TRACES:
        return {**value, "scale": value.get("scale", 1.0) * factor}
    if isinstance(value, dict):
        return {key: scaled(item, factor) if isinstance(item, str) else item for key, item in value.items()}
    if isinstance(value, (int, float)):
        return value * factor
    try:
        number, unit = measure(str(value), BASE_UNITS)
    except NoQuantity:
        return value
    return f"{number * factor!r} {unit}"
