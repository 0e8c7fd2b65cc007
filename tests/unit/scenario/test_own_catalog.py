"""A user's own catalog: entries that groups name, what is refused of them, what is kept without the file."""

from __future__ import annotations

import copy
import pickle
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import data
from typer.testing import CliRunner, Result

import sflsim
from sflsim.cli import app
from sflsim.errors import ScenarioError
from sflsim.fleet.catalog import entries
from sflsim.fleet.devices import DeviceConfig
from sflsim.fleet.links.links import LinkConfig
from sflsim.retime.scaling import assumptions, varied
from sflsim.scenario import Scenario, json_schema

OWN = """\
devices:
  box:
    about: ours
    figures:
      compute: {value: 8 FLOP/s, status: measured, source: "a table [1] of ours"}
      power.idle: {value: 2 W, status: assumed, source: a guess}
links:
  wifi:
    about: slower than the built-in one
    replaces: true
    figures:
      up: {value: 16 byte/s, status: measured, source: ours}
      down: {value: 32 byte/s, status: measured, source: ours}
  hall:
    figures:
      up: {value: 4 byte/s, status: measured, source: ours}
      down: {value: 8 byte/s, status: measured, source: ours}
"""
FLEET = {
    "clients": 3,
    "groups": [
        {"count": 1, "device": "box", "link": "hall"},
        {"count": 1, "device": "box"},
        {"count": 1, "device": "raspberry-pi-4", "link": "4g-cz"},
    ],
}


def figure(value: Any) -> dict[str, Any]:
    return {"value": value, "status": "measured", "source": "ours"}


def device(**figures: Any) -> dict[str, Any]:
    return {"figures": {key.replace("_", "."): figure(value) for key, value in figures.items()}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_devices.yaml").write_text(OWN, encoding="utf-8")
    scenario(tmp_path, "my_devices.yaml")
    return tmp_path


def scenario(folder: Path, catalog: Any, **fields: Any) -> Path:
    path = folder / "scenario.yaml"
    text = yaml.safe_dump(data(**{"catalog": catalog, "fleet": FLEET, **fields}), sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, *overrides: str) -> Scenario:
    return sflsim.load_scenario(folder / "scenario.yaml", overrides)


def refused(folder: Path, catalog: Any, **fields: Any) -> str:
    with pytest.raises(ScenarioError) as caught:
        sflsim.load_scenario(scenario(folder, catalog, **fields))
    return str(caught.value)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})


def rates(run: sflsim.Run) -> list[list[float]]:
    return run.clients[["flop_per_s", "up_bytes_per_s", "down_bytes_per_s"]].to_numpy().tolist()


def test_groups_name_its_entries(folder: Path) -> None:
    """They, the built-in ones, and those replaced: also by the default of a link left out."""
    loaded = load(folder)
    first, second, third = loaded.fleet.groups
    assert loaded.fleet.group_names() == ["box", "box-2", "raspberry-pi-4"]
    assert (first.device.compute, first.device.power.idle) == (8.0, 2.0)
    assert (first.link.up, second.link.up, second.link.down) == (4.0, 16.0, 32.0)
    assert (third.device, third.link) == (DeviceConfig.named("raspberry-pi-4"), LinkConfig.named("4g-cz"))
    run = sflsim.simulate(loaded, timing_only=True)
    assert rates(run)[:2] == [[8.0, 4.0, 8.0], [8.0, 16.0, 32.0]]


def test_it_holds_for_its_scenario_alone(folder: Path) -> None:
    """The next scenario has the built-in entries only, and so does one that failed in between."""
    load(folder)
    with pytest.raises(ScenarioError):
        load(folder, "fleet.groups[0].device=bix")
    assert LinkConfig.named("wifi").up == 150e6 / 8
    with pytest.raises(ScenarioError, match="not in the catalog"):
        load(folder, "catalog=null")


def test_what_is_kept_needs_no_file(folder: Path) -> None:
    """Written out, in a run's folder, pickled and copied it is equal; sources stay."""
    loaded = load(folder)
    sflsim.simulate(loaded, timing_only=True).save(folder / "run")
    wanted = [group.model_dump(mode="json") for group in loaded.fleet.groups]
    (folder / "my_devices.yaml").unlink()
    again = sflsim.parse_scenario(loaded.to_yaml(), folder=Path("/nowhere"))
    kept = sflsim.Run.load(folder / "run").scenario
    for one in (again, kept, pickle.loads(pickle.dumps(loaded)), copy.deepcopy(loaded)):
        assert one == loaded
        assert one.to_yaml() == loaded.to_yaml()
        assert [group.model_dump(mode="json") for group in one.fleet.groups] == wanted
    written = yaml.safe_load(loaded.to_yaml())["catalog"]
    assert written["devices"]["box"]["figures"]["compute"]["source"] == "a table [1] of ours"
    assert written["links"]["wifi"]["replaces"] is True
    assert rates(sflsim.simulate(kept, timing_only=True)) == rates(sflsim.simulate(again, timing_only=True))
    with pytest.raises(ScenarioError, match=r"my_devices.yaml.*no such file"):
        sflsim.simulate(loaded, timing_only=True)  # as loading it again would be


def test_without_a_catalog_nothing_is_written() -> None:
    """Resolved scenarios of before stay as they are."""
    assert "catalog" not in yaml.safe_load(Scenario.model_validate(data()).to_yaml())


def test_the_built_in_catalog_is_in_the_format(folder: Path) -> None:
    """All of it, said to replace itself, gives equal devices and links."""
    tables: dict[str, Any] = {}
    for table in ("devices", "links"):
        text = files("sflsim.fleet").joinpath("catalog", f"{table}.yaml").read_text(encoding="utf-8")
        tables[table] = {name: one | {"replaces": True} for name, one in yaml.safe_load(text).items()}
    for name in entries("devices"):
        fields = {"fleet": {"clients": 2, "groups": [{"device": name}]}, "workload": {"model": "mlp"}}
        own = sflsim.load_scenario(scenario(folder, tables, **fields))
        built_in = sflsim.load_scenario(scenario(folder, None, **fields))
        assert own.fleet.groups[0].device.__dict__ == built_in.fleet.groups[0].device.__dict__
        assert own.fleet.groups[0].link.__dict__ == built_in.fleet.groups[0].link.__dict__


def test_several_files_and_entries_in_the_scenario(folder: Path) -> None:
    """In order: a later one may replace an earlier one's entry, and what is kept loads again."""
    later = {"devices": {"box": {**device(compute="32 FLOP/s"), "replaces": True}}}
    loaded = sflsim.load_scenario(scenario(folder, ["my_devices.yaml", later]))
    assert loaded.fleet.groups[0].device.compute == 32.0
    assert sflsim.parse_scenario(loaded.to_yaml()) == loaded
    found = refused(folder, ["my_devices.yaml", "my_devices.yaml"])
    assert "my_devices.yaml:2  devices.box" in found
    assert "'box', which is in an earlier file already" in found


def test_a_file_of_its_own_is_looked_for_beside_it(folder: Path) -> None:
    """A trace that an entry names lies in the catalog's folder; the path is absolute from then on."""
    (folder / "lab").mkdir()
    (folder / "lab" / "heat.csv").write_text("time_s,rate\n0,8 FLOP/s\n10,2 FLOP/s\n", encoding="utf-8")
    own = {"devices": {"box": device(compute={"kind": "trace", "file": "heat.csv"})}}
    (folder / "lab" / "own.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    fleet = {"clients": 1, "groups": [{"device": "box"}]}
    loaded = sflsim.load_scenario(scenario(folder, "lab/own.yaml", fleet=fleet))
    assert loaded.fleet.groups[0].device.compute.file == str((folder / "lab" / "heat.csv").resolve())
    assert sflsim.parse_scenario(loaded.to_yaml(), folder=Path("/nowhere")) == loaded


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_overrides_and_sweeps(folder: Path, workers: int) -> None:
    """They change which entry is named, and which catalog; each point's rates are those of its entries."""
    assert load(folder, "fleet.groups[2].device=box").fleet.groups[2].device.compute == 8.0
    shutil.copy(folder / "my_devices.yaml", folder / "other.yaml")
    text = (folder / "other.yaml").read_text(encoding="utf-8").replace("8 FLOP/s", "1 FLOP/s")
    (folder / "other.yaml").write_text(text, encoding="utf-8")
    assert load(folder, "catalog=other.yaml").fleet.groups[0].device.compute == 1.0
    over = {"catalog": ["my_devices.yaml", "other.yaml"], "fleet.groups[2].device": ["box", "raspberry-pi-5"]}
    loaded = load(folder)
    table = sflsim.sweep(loaded, over, timing_only=True, workers=workers).table
    alone = [
        sflsim.simulate(load(folder, f"catalog={a}", f"fleet.groups[2].device={b}"), timing_only=True)
        for a in over["catalog"]
        for b in over["fleet.groups[2].device"]
    ]
    assert table["time_s"].tolist() == [run.runs["time_s"].item() for run in alone]
    assert len(set(table["time_s"])) > 1


def test_a_plan_decides_between_entries(folder: Path) -> None:
    """Points are rebuilt from what was resolved; its file is not needed any more."""
    block = {"decisions": {"fleet.groups[0].link": ["hall", "wifi", "ethernet"]}, "objectives": ["time"]}
    loaded = sflsim.load_scenario(scenario(folder, "my_devices.yaml", plan=block))
    loaded = sflsim.parse_scenario(loaded.to_yaml())
    (folder / "my_devices.yaml").unlink()
    found = sflsim.plan(loaded)
    assert len(found.points) == 3
    found.save(folder / "plan")
    assert sflsim.Plan.load(folder / "plan").scenario == loaded


def test_what_if_scales_its_entries(folder: Path) -> None:
    """Each assumption of the fleet, doubled, doubles the one rate; names of groups stay."""
    loaded = load(folder)
    changes = dict(assumptions(loaded))
    faster = varied(loaded, changes["computing of group box"], 2.0).fleet
    wider = varied(loaded, changes["uplink of group box-2"], 2.0).fleet
    assert [group.device.compute for group in faster.groups] == [16.0, 8.0, 16e9]
    assert [group.link.up for group in wider.groups] == [4.0, 32.0, 3e6]
    assert faster.group_names() == loaded.fleet.group_names()
    table = sflsim.explain(sflsim.simulate(loaded, timing_only=True)).what_if
    row = table[table["change"] == "uplink of group box-2 twice as fast"]
    alone = varied(loaded, changes["uplink of group box-2"], 2.0)
    assert row["changed_s"].tolist() == sflsim.simulate(alone, timing_only=True).runs["time_s"].tolist()


BAD = {
    "no such file": ("none.yaml", "  catalog\n", "'none.yaml': no such file"),
    "no path": (5, "  catalog\n", "found 5; allowed: a YAML file of devices and links"),
    "in a list": (["my_devices.yaml", 5], "catalog[1]", "found 5"),
    "taken": (
        {"links": {"wifi": device(up="1 byte/s", down="1 byte/s")}},
        "catalog.links.wifi",
        "'wifi', which",
    ),
    "replaces nothing": (
        {"devices": {"raspbery-pi-4": {**device(compute="1 FLOP/s"), "replaces": True}}},
        "catalog.devices.raspbery-pi-4.replaces",
        "did you mean 'raspberry-pi-4'?",
    ),
    "a name": ({"devices": {"my box": device(compute="1 FLOP/s")}}, "catalog.devices.my box", "'my box'"),
    "no status": (
        {"devices": {"one": {"figures": {"compute": {"value": "1 FLOP/s", "source": "x"}}}}},
        "catalog.devices.one.figures.compute.status",
        "allowed: measured, derived, assumed",
    ),
    "a status": (
        {"devices": {"one": {"figures": {"compute": {**figure("1 FLOP/s"), "status": "mesured"}}}}},
        "catalog.devices.one.figures.compute.status",
        "did you mean 'measured'?",
    ),
    "no source": (
        {"devices": {"one": {"figures": {"compute": {**figure("1 FLOP/s"), "source": ""}}}}},
        "catalog.devices.one.figures.compute.source",
        "text of at least 1 characters",
    ),
    "a section": ({"device": {}}, "catalog.device", "did you mean 'devices'?"),
    "no section": ({"one": device(compute="1 FLOP/s")}, "catalog.one", "below 'devices:' or 'links:'"),
    "a value": (
        {"devices": {"one": device(compute="0 FLOP/s")}},
        "catalog.devices.one.figures.compute.value",
        "found '0 FLOP/s'",
    ),
    "a distribution": (
        {"devices": {"one": device(compute={"kind": "lognormal", "median": "1 FLOP/s", "sigma": -1})}},
        "catalog.devices.one.figures.compute.value.sigma",
        "found -1",
    ),
    "a key": (
        {"devices": {"one": device(compute="1 FLOP/s", memry="1 GB")}},
        "catalog.devices.one.figures.memry",
        "did you mean 'memory'?",
    ),
    "a key below": (
        {"devices": {"one": device(compute="1 FLOP/s", power_idel="1 W")}},
        "catalog.devices.one.figures.power.idel",
        "did you mean 'idle'?",
    ),
    "no rate": (
        {"devices": {"one": device(memory="1 GB")}},
        "catalog.devices.one.figures.compute",
        "found nothing",
    ),
    "twice": (
        {"devices": {"one": device(compute="1 FLOP/s", power={"idle": "1 W"}, power_idle="2 W")}},
        "catalog.devices.one.figures.power.idle",
        "'power.idle' beside 'power'",
    ),
    "a whole": (
        {"devices": {"one": device(compute="1 FLOP/s", power="1 W")}},
        "catalog.devices.one.figures.power.value",
        "found '1 W'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_have_a_place(folder: Path, case: str) -> None:
    """In a file: its line and the path there; in the scenario: below `catalog`."""
    catalog, path, words = BAD[case]
    found = refused(folder, catalog)
    assert "Traceback" not in found
    assert path in found
    assert words in found
    if isinstance(catalog, dict):
        (folder / "bad.yaml").write_text(yaml.safe_dump(catalog), encoding="utf-8")
        found = refused(folder, "bad.yaml")
        assert f"  {path.removeprefix('catalog.')}\n" in found
        assert "bad.yaml:" in found
        assert words in found
        done = call("catalog", "--file", folder / "bad.yaml")
        assert (done.exit_code, words in done.output) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "bad.yaml:1\n  found an empty file"),
        ("[1, 2]", "bad.yaml:1\n  found a list [1, 2]"),
        ("devices: {a: 1", "bad.yaml:1\n  found no readable YAML"),
        ("devices:\n  box: {}\n  box: {}\n", "bad.yaml:3  devices.box\n  found the key 'box' twice"),
    ],
)
def test_files_that_are_no_catalog(folder: Path, text: str, words: str) -> None:
    """The file and the line are named."""
    (folder / "bad.yaml").write_text(text, encoding="utf-8")
    assert words in refused(folder, "bad.yaml")


def test_several_mistakes_at_once(folder: Path) -> None:
    """All of a file, in its order, each at its line."""
    text = OWN.replace("8 FLOP/s", "8 FLOP").replace("4 byte/s", "-4 byte/s")
    (folder / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        sflsim.load_scenario(scenario(folder, "bad.yaml"))
    assert [one.line for one in caught.value.problems] == [5, 16]


def test_an_unknown_name_lists_own_ones_too(folder: Path) -> None:
    """The closest name may be one's own."""
    found = refused(folder, "my_devices.yaml", fleet={"clients": 1, "groups": [{"device": "bxo"}]})
    assert "did you mean 'box'?" in found
    assert "raspberry-pi-4" in found


def test_the_command_lists_both(folder: Path) -> None:
    """Own entries are marked; text in brackets is shown; what is replaced shows its new figures only."""
    found = call("catalog", "--file", folder / "my_devices.yaml").output
    assert "box (own)" in found
    assert "a table [1] of ours" in found
    assert "raspberry-pi-4" in found
    assert "wifi (own)" in found
    assert "150 Mbit/s" not in found
    missing = call("catalog", "--file", folder / "none.yaml")
    assert (missing.exit_code, "no such file" in missing.output) == (2, True)
    plain = call("catalog").output
    assert "(own)" not in plain
    assert "150 Mbit/s" in plain


def test_the_schema_takes_all_forms(folder: Path) -> None:
    """A path, a mapping and a list of them; names of one's own beside the built-in ones."""
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json_schema())
    own = yaml.safe_load(OWN)
    for catalog in ("my_devices.yaml", own, ["my_devices.yaml", own]):
        assert not list(check.iter_errors(data(catalog=catalog, fleet=FLEET)))
    assert list(check.iter_errors(data(catalog=5)))
    assert list(check.iter_errors(data(fleet={"clients": 1, "groups": [{"device": "no name!"}]})))
