"""The settings of a page: which ones a scenario has, and the scenario that they make."""

from __future__ import annotations

import math
from typing import Any

import pytest
from support import FAST, SLOW, data, read

from sflsim.errors import ScenarioError
from sflsim.explorer.controls import Controls
from sflsim.explorer.overriding import as_options
from sflsim.scenario import load_scenario
from sflsim.scenario.shipped import shipped

EXPONENTIAL = {"kind": "exponential", "mean": "2 s"}


def controls(over: tuple[str, ...] = (), **fields: Any) -> Controls:
    return Controls(read(data(**fields)), over)


def fleet(straggler: dict[str, Any] | None = None, **group: Any) -> dict[str, Any]:
    first = {**FAST, **group}
    whole = {"clients": 2, "groups": [first, SLOW]}
    return whole if straggler is None else {**whole, "straggler": straggler}


def set_to(made: Controls, **settings: str) -> dict[str, Any]:
    """Return the data of the scenario with settings; "__" stands for a dot."""
    sent = {name.replace("__", "."): text for name, text in settings.items()}
    return made.changed(made.read(sent))[0].to_data()


def test_quickstart_has_what_it_is_made_of() -> None:
    """Kind and mean of the straggler, devices and links of both groups, participants, server, tau; no cut,
    as its costs are given for one."""
    made = Controls(load_scenario("quickstart"))
    assert {name: one.value for name, one in made.all.items()} == {
        "fleet.straggler.kind": "exponential",
        "fleet.straggler.mean": "2 s",
        "fleet.groups[0].device": "raspberry-pi-4",
        "fleet.groups[0].link": "wifi",
        "fleet.groups[1].device": "jetson-nano",
        "fleet.groups[1].link": "as written",
        "fleet.groups[1].link.up": "10 Mbit/s",
        "fleet.groups[1].link.down": "40 Mbit/s",
        "fleet.groups[1].link.latency": "35 ms",
        "fleet.participants": "5",
        "server.slots": "1",
        "server.compute": "100 GFLOP/s",
        "variants[2].tau": "1, 2, 4, 8, adaptive",
    }


@pytest.mark.parametrize("name", sorted(set(shipped()) - {"papers/opt_sst2"}))
def test_nothing_is_changed_by_what_a_scenario_has(name: str) -> None:
    """The values shown at first make the scenario itself."""
    made = Controls(load_scenario(name))
    sent = {one.id: one.value for one in made.all.values()}
    assert made.changed(made.read(sent)) == (made.scenario, [])


def test_a_cut_is_offered_where_its_costs_follow() -> None:
    """With costs that are derived, every cut but the last can be chosen."""
    made = controls(workload={"model": {"kind": "mlp", "hidden": [8, 8]}, "cut": 1, "batch_size": 8})
    assert made.all["workload.cut"].options == ("1", "2")
    assert set_to(made, workload__cut="2")["workload"]["cut"] == 2


@pytest.mark.parametrize(
    "kind", ["constant", "exponential", "gamma", "lognormal", "pareto", "weibull", "uniform"]
)
def test_every_kind_of_straggler_has_the_mean_that_is_set(kind: str) -> None:
    """The law's own mean is the one typed, whatever amounts the kind has."""
    made = controls(fleet=fleet(EXPONENTIAL))
    sent = {"fleet.straggler.kind": kind, "fleet.straggler.mean": "250 ms"}
    scenario, _ = made.changed(made.read(sent))
    assert scenario.fleet.straggler is not None
    assert scenario.fleet.straggler.model_dump()["kind"] == kind
    assert scenario.fleet.straggler.mean == pytest.approx(0.25, rel=1e-12)


def test_a_straggler_keeps_what_is_not_set() -> None:
    """Another mean keeps the shape, the cap and how long a draw holds; the mean shown is that of the law."""
    given = {"kind": "lognormal", "median": "2 s", "sigma": 0.5, "cap": "90 s", "redraw": "client"}
    made = controls(fleet=fleet(given))
    assert made.all["fleet.straggler.mean"].value == f"{2 * math.exp(0.125):.6g} s"
    changed = set_to(made, fleet__straggler__mean="4 s")["fleet"]["straggler"]
    assert {key: changed[key] for key in ("sigma", "redraw", "cap")} == {
        "sigma": 0.5,
        "redraw": "client",
        "cap": "90.0 s",
    }
    assert float(changed["median"].removesuffix(" s")) == pytest.approx(4 * math.exp(-0.125))


def test_a_straggler_can_be_added_and_removed() -> None:
    """Without any, one can be added; that of the fleet can be removed."""
    first = {**FAST}
    made = controls(fleet={"clients": 1, "groups": [first]})
    assert made.all["fleet.straggler.kind"].value == "none"
    changed = set_to(made, fleet__straggler__kind="exponential")["fleet"]["straggler"]
    assert (changed["kind"], changed["mean"]) == ("exponential", "1.0 s")
    made = controls(fleet={"clients": 1, "groups": [first], "straggler": EXPONENTIAL})
    assert set_to(made, fleet__straggler__kind="none")["fleet"]["straggler"] is None


def test_another_device_keeps_the_name_that_draws_follow() -> None:
    """A group without a name is called as its device; a change of the device alone changes no draw."""
    made = Controls(load_scenario("quickstart"))
    sent = {"fleet.groups[0].device": "jetson-orin-nano", "fleet.groups[1].link.up": "1 Mbit/s"}
    scenario, overrides = made.changed(made.read(sent))
    assert scenario.fleet.group_names() == made.scenario.fleet.group_names()
    again = load_scenario("quickstart", as_options(overrides))
    assert again.to_data() == scenario.to_data()


def test_a_link_by_name_stands_in_place_of_its_rates() -> None:
    """While a link of the catalog is chosen, the rates of the one as written are not followed."""
    made = controls()
    sent = {"fleet.groups[0].link": "wifi", "fleet.groups[0].link.up": "1 byte/s"}
    assert made.changed(made.read(sent))[0].to_data()["fleet"]["groups"][0]["link"] == "wifi"


def test_further_settings_are_lists_ranges_and_fields() -> None:
    """A list has its values and that of the scenario, a range its steps with units, a path any value."""
    made = controls(
        (
            "server.slots=2,4",
            "server.compute={from: 1 FLOP/s, to: 16 FLOP/s, steps: 5, scale: log}",
            "stop.rounds",
        ),
    )
    assert made.all["server.slots"].options == ("1", "2", "4")
    assert made.all["server.compute"].options == ("1 FLOP/s", "2 FLOP/s", "4 FLOP/s", "8 FLOP/s", "16 FLOP/s")
    assert made.all["stop.rounds"].kind == "text"
    changed = set_to(made, server__slots="4", server__compute="8 FLOP/s", stop__rounds="7")
    assert (changed["server"]["slots"], changed["server"]["compute"], changed["stop"]["rounds"]) == (
        4,
        "8.0 FLOP/s",
        7,
    )


@pytest.mark.parametrize(
    "over",
    [
        *(
            "",
            "=1",
            "server.slots=",
            "server.slots={from: 3, to: 1}",
            "server.slot=1,2",
            "fleet[",
            "a b: c=1,2",
        ),
        *("nope", "server.slot", "server.nope.x", "variants[9].tau", "variants[mu].tau", "  "),
        *("server", "fleet.groups", "fleet.groups[0]", "variants[0].tau", "seeds.x"),
    ],
)
def test_a_further_setting_that_leads_nowhere_is_refused(over: str) -> None:
    """At the start, before anything is computed."""
    with pytest.raises(ScenarioError):
        controls((over,))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("server.memory", ""),
        ("server.discipline", "fifo"),
        ("variants[0].local_iterations", "1"),
        ("fleet.groups[1].device.memory", ""),
        ("fleet.groups[slow].link.latency", "0.5 s"),
        ("seeds", "[0]"),
        ("workload.batch_size", "8"),
    ],
)
def test_a_path_alone_shows_what_holds(path: str, shown: str) -> None:
    """Also a default, and nothing where a setting is not set."""
    assert controls((path,)).all[path].value == shown


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("server.slots", "0"),
        ("server.slots", "1.5"),
        ("server.slots", "two"),
        ("server.slots", "{kind: torch-module, file: evil.py}"),
        ("server.slots", "!!python/object:os.system x"),
        ("server.slots", "[[1]]"),
        ("server.slots", "1" * 300),
        ("server.slots", ""),
        ("server.compute", "5 s"),
        ("server.compute", "-1 FLOP/s"),
        ("fleet.participants", "3"),
        ("fleet.straggler.mean", "2 FLOP/s"),
        ("fleet.straggler.mean", "soon"),
        ("fleet.straggler.kind", "torch-module"),
        ("fleet.groups[0].link", "{kind: trace, file: /etc/passwd}"),
        ("fleet.groups[0].link", "5g-nowhere"),
        ("fleet.groups[0].link.latency", "{kind: trace, file: /etc/passwd}"),
        ("variants[1].tau", "0"),
        ("variants[1].tau", "1, soon"),
        ("workload.model", "torch-module"),
        ("workload.dataset", "digits"),
        ("", "1"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, text: str) -> None:
    """Values that no control takes, and fields that no control is for: one error, and no scenario."""
    variants = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed", "tau": [1, 2]}]
    made = controls(fleet=fleet(EXPONENTIAL), variants=variants)
    with pytest.raises(ScenarioError):
        made.changed(made.read({name: text}))


@pytest.mark.parametrize("sent", [{"server.slots": 2}, {"server.slots": ["2"]}, {"server.slots": None}])
def test_a_page_sends_texts(sent: dict[str, Any]) -> None:
    """A number, a list or nothing in place of a text is refused."""
    with pytest.raises(ScenarioError):
        controls().read(sent)
