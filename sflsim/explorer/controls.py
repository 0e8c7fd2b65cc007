"""The settings of a page: made from a scenario, and followed as `--set` would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sflsim.errors import SflsimError, refused
from sflsim.explorer.control import Control
from sflsim.explorer.further import further_controls
from sflsim.explorer.overriding import inline, is_amount, override
from sflsim.explorer.straggler import Straggler
from sflsim.fleet.catalog import Table, entries
from sflsim.formatting import shorten
from sflsim.registry import algorithms, config_of
from sflsim.scenario.fixed_costs import fixed_costs
from sflsim.scenario.loading import vary, written
from sflsim.scenario.overrides import Override
from sflsim.scenario.schema import Scenario

AS_WRITTEN = "as written"


class Controls:
    """The controls of a scenario, and the scenario that settings make of it."""

    def __init__(self, scenario: Scenario, over: Sequence[str] = ()) -> None:
        """Make the controls; `over` names further ones.

        Raises:
            ScenarioError: a further control names no path, or no values.
        """
        self.scenario = scenario
        self.stragglers = _stragglers(scenario)
        self.all = {
            control.id: control
            for control in (
                *(control for straggler in self.stragglers for control in straggler.controls),
                *_of_groups(scenario),
                *_of_server(scenario),
                *_of_learning(scenario),
                *further_controls(scenario, over),
            )
        }

    def read(self, sent: Mapping[str, Any]) -> dict[str, str]:
        """Return the settings that a page has sent: the texts of controls that are not as in the scenario.

        Raises:
            ScenarioError: there is no such control, or it is given no text.
        """
        for name, text in sent.items():
            if name not in self.all or not isinstance(text, str):
                raise refused(shorten(str(name)), shorten(repr(text)), "a control of this page, and a text")
        return {name: text.strip() for name, text in sent.items() if text.strip() != self.all[name].value}

    def changed(self, settings: Mapping[str, str]) -> tuple[Scenario, list[Override]]:
        """Return the scenario with these settings, and the overrides that make it of the scenario.

        Raises:
            ScenarioError: a value does not fit.
        """
        overrides = []
        left = dict(settings)
        for straggler in self.stragglers:
            own = [control.id for control in straggler.controls]
            if left.keys() & own:
                overrides.append(override(straggler.path, straggler.changed(settings)))
                left = {name: text for name, text in left.items() if name not in own}
        for name, text in left.items():
            if self.all[name].needs not in settings:
                overrides.append(override(name, self.all[name].read(text)))
        names = self.scenario.fleet.group_names()
        for index, name in enumerate(names):  # its default follows the device; draws follow the name
            path = f"fleet.groups[{index}]"
            if any(one.file.startswith(f"--set {path}.") for one in overrides):
                overrides.append(override(f"{path}.name", name))
        if not overrides:
            return self.scenario, []
        return vary(self.scenario, overrides), overrides


def _stragglers(scenario: Scenario) -> list[Straggler]:
    """Return the stragglers of the fleet and of its groups; one that can be added, where there is none."""
    config, given = scenario.fleet, written(scenario)["fleet"]
    found = [
        Straggler(
            f"fleet.groups[{index}].straggler", name, group.straggler, given["groups"][index]["straggler"]
        )
        for index, (name, group) in enumerate(zip(config.group_names(), config.groups, strict=True))
        if group.straggler is not None
    ]
    if config.straggler is not None or not found:
        found.insert(0, Straggler("fleet.straggler", "stragglers", config.straggler, given.get("straggler")))
    return found


def _of_groups(scenario: Scenario) -> list[Control]:
    """Return device and link of each group, and the rates of those that have no name."""
    controls = []
    parts: tuple[tuple[str, Table, tuple[str, ...]], ...] = (
        ("device", "devices", ("compute",)),
        ("link", "links", ("up", "down", "latency")),
    )
    resolved = scenario.to_data()["fleet"]["groups"]
    groups = zip(scenario.fleet.group_names(), written(scenario)["fleet"]["groups"], strict=True)
    for index, (name, group) in enumerate(groups):
        for part, table, keys in parts:
            path, value = f"fleet.groups[{index}].{part}", group.get(part, resolved[index][part])
            own = [] if scenario.catalog is None else list(scenario.catalog.own()[table])
            shown = value if isinstance(value, str) else AS_WRITTEN
            options = tuple(dict.fromkeys([shown, *own, *entries(table)]))
            controls.append(Control(path, name, part, "choice", shown, options, values=(value, *options[1:])))
            for key in keys if isinstance(value, dict) else ():
                if is_amount(value.get(key)):
                    controls.append(Control(f"{path}.{key}", name, key, "amount", value[key], needs=path))
    return controls


def _of_server(scenario: Scenario) -> list[Control]:
    server, fleet = scenario.server, scenario.fleet
    most, number = max(16, 2 * server.slots), str(fleet.participants_per_round)
    controls = [
        Control("fleet.participants", "rounds", "participants", "whole", number, least=1, most=fleet.clients),
        Control("server.slots", "server", "slots", "whole", str(server.slots), least=1, most=most),
    ]
    compute = (written(scenario).get("server") or {}).get("compute")
    if compute is None and isinstance(server.compute, float):  # the default
        compute = f"{server.compute / 1e12:g} TFLOP/s"
    if is_amount(compute):
        controls.append(Control("server.compute", "server", "compute", "amount", str(compute)))
    return controls


def _of_learning(scenario: Scenario) -> list[Control]:
    """Return tau of each variant that has one, and the cut, where no given cost rests on it."""
    controls = []
    for index, variant in enumerate(written(scenario)["variants"]):
        fields = variant if isinstance(variant, dict) else {"algorithm": variant}
        name = fields.get("algorithm")
        known = config_of(algorithms()[name]).model_fields if name in algorithms() else {}
        if "tau" in known:
            tau = fields.get("tau", known["tau"].default)
            text = ", ".join(map(inline, tau)) if isinstance(tau, list) else inline(tau)
            controls.append(
                Control(
                    f"variants[{index}].tau", "learning", f"tau of {fields.get('name', name)}", "text", text
                )
            )
    workload = scenario.workload
    try:
        blocks = list(workload.model.block_names)
    except (SflsimError, AttributeError):  # of a user's own model, which is not trusted
        blocks = []
    names = blocks[:-1] if isinstance(workload.cut, str) else list(range(1, len(blocks)))
    if len(names) > 1 and workload.cut in names and not fixed_costs(scenario, {"workload.cut": names}):
        shown = tuple(map(str, names))
        controls.append(
            Control(
                "workload.cut", "learning", "cut", "choice", str(workload.cut), shown, values=tuple(names)
            )
        )
    return controls
