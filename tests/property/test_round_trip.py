"""What is written can be read: any scenario through its YAML text and a run folder, text of any kind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from property.random_scenarios import RATES_CSV, product_of, scenarios

from sflsim.experiment.run import Run
from sflsim.record import tables
from sflsim.scenario.loading import parse_scenario
from sflsim.scenario.schema import Scenario
from sflsim.scenario.yaml_lines import CONTROL, read_yaml, write_yaml

QUICK = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
ABSENT = None
ODD = "ab \t\n\r\x85\u2028\u2029\ufeff'\"\\#:-[]{}&*!|>%@`,?~0.e\U0001f600"
TEXTS = st.text(ODD, max_size=40) | st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
TEXT = TEXTS.filter(lambda text: not CONTROL.search(text))
NAMES = st.sampled_from(
    ["ours [v2]", "a[/b]", ":smile:", "$x$ and $\\frac$", "naïve 😀", "yes", "1e3", "- a"]
)
FIGURE = {"value": "0.3 GFLOP/s", "source": "by hand # 1", "status": "measured"}
EVENTS = [
    {"at": "0.1 h", "group": "g0", "leave": True},
    {"at": "7 h", "set": {"device.compute": "3 GFLOP/s"}},
]
DISTANCE = {"kind": "uniform", "low": "0.1 km", "high": "0.7 km"}
EXTRAS = product_of(
    target_accuracy=[ABSENT, "33.3%", 0.1],
    sweep=[ABSENT, {"fleet.participants": [1, 2], "variants[0].name": ["a", "no", "1"]}],
    plan=[
        ABSENT,
        {"decisions": {"server.slots": {"from": 1, "to": 4}}, "constraints": {"deadline": "0.1 s"}},
        {
            "decisions": {"server.compute": {"from": "1 FLOP/s", "to": "9 FLOP/s", "scale": "log"}},
            "constraints": {"deadline": {"within": "2 h", "probability": "1%"}, "budget": 0.1},
            "prices": {"currency": "€", "device": 0.3, "groups": {"g0": {"device": 0.7}}},
            "objectives": ["time", "cost"],
        },
    ],
    catalog=[ABSENT, {"devices": {"own-1": {"about": "it's: ours", "figures": {"compute": FIGURE}}}}],
)
FLEETS = product_of(
    availability=[
        ABSENT,
        {"kind": "daily", "from": "22:00", "to": "06:59", "starts": "23:05", "jitter": "0.1 h"},
        {"kind": "trace", "file": str(RATES_CSV.with_name("presence.csv")), "repeat": "0.1 h"},
        {"kind": "trace", "file": str(RATES_CSV.with_name("presence.csv")), "repeat": True},
        {"kind": "flash", "file": str(RATES_CSV.with_name("phones.json")), "when": ["idle"], "battery": "7%"},
    ],
    events=[ABSENT, EVENTS],
    on_oom=["refuse", "exclude"],
)
PARTITIONS = st.sampled_from(
    ["iid", {"kind": "dirichlet", "alpha": 0.1}, {"kind": "shards", "shards_per_client": 2}]
)
LINKS = st.sampled_from(
    [
        ABSENT,
        "wifi",
        {"kind": "shannon", "distance": DISTANCE, "power": "0.2 W"},
        {"up": {"kind": "lognormal", "median": "0.3 Mbit/s", "sigma": 0.1}, "down": "1.7 Mbit/s"},
        {"up": {"kind": "quantiles", "p3": "0.3 Mbit/s", "p97": "0.7 Mbit/s"}, "down": "1.7 Mbit/s"},
        {
            "up": {"kind": "mahimahi", "file": str(RATES_CSV.with_name("packets.up")), "step": "7 ms"},
            "down": "1 B/s",
        },
    ]
)


@st.composite
def rich(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a scenario of any kind, with every block that a file may have."""
    content = draw(scenarios())
    content |= draw(EXTRAS) | {"description": draw(TEXT)}
    content["evaluate"] = {"every": draw(st.sampled_from(["1 round", "0.1 s", "1.7 min"]))}
    content["variants"][0]["name"] = draw(NAMES)
    content["fleet"] = {**content["fleet"], **draw(FLEETS)}
    content["workload"] = {**content["workload"], "partition": draw(PARTITIONS)}
    if link := draw(LINKS):
        content["fleet"]["groups"][0]["link"] = link
    return content


def check_text(scenario: Scenario) -> None:
    text = scenario.to_yaml()
    again = parse_scenario(text, folder=Path("nowhere"))
    assert again == scenario
    assert again.to_yaml() == text


@settings(QUICK, max_examples=40)
@given(rich())
def test_a_scenario_is_what_its_text_says(content: dict[str, Any]) -> None:
    """Resolved, written, read from elsewhere: equal, and written to the same text."""
    check_text(Scenario.model_validate(content))


@pytest.mark.slow
@settings(QUICK, max_examples=2000)
@given(rich())
def test_many_more_scenarios_are_what_their_text_says(content: dict[str, Any]) -> None:
    """The same law."""
    check_text(Scenario.model_validate(content))


@settings(QUICK, max_examples=10)
@given(rich(), st.lists(st.floats(0, 1e12), min_size=2, max_size=2))
def test_a_run_folder_is_what_was_saved(content: dict[str, Any], figures: list[float]) -> None:
    """Scenario, and the figures of its runs to the last bit, NaN included."""
    scenario = Scenario.model_validate(content)
    name = scenario.variants[0].name
    row = [name, 2**63 - 1, "x", "completed", "", 3, *figures, float("nan"), 1 / 3, 0, 0.1 + 0.2, 5e-324, ""]
    empty = {table: tables.table(table, []) for table in ("spans", "evaluations", "clients")}
    run = Run(scenario, **empty, runs=tables.table("runs", [row]), manifest={"status": "completed"})
    with tempfile.TemporaryDirectory() as folder:
        loaded = Run.load(run.save(Path(folder) / "run", plots=False))
    assert loaded.scenario == scenario
    assert loaded.runs.equals(run.runs)
    assert loaded.manifest == run.manifest


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    TEXT | st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@settings(QUICK, max_examples=200)
@given(VALUES)
def test_plain_data_is_what_its_yaml_says(value: Any) -> None:
    """Text with any sign that ends a line, numbers and words that look like others: each as it was."""
    assert repr(read_yaml(write_yaml({"it": value}), "it.yaml").data) == repr({"it": value})
