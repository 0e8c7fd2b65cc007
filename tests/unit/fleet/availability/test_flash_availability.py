"""Availability from FLASH's state traces: by hand, by an independent reading, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support import data, read

from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.fleet import files
from sflsim.fleet.availability.flash import SWITCHES, FlashAvailable
from sflsim.fleet.availability.on_off import Timeline
from sflsim.scenario.copies import copies_of
from sflsim.scenario.loading import load_scenario

EVENING = """
2020-01-29 22:00:00\tbattery_charged_on
2020-01-29 22:00:10\tscreen_lock
2020-01-29 22:00:20\tWiFi
2020-01-29 22:00:20\t83.0%
2020-01-29 22:00:50\tscreen_unlock
2020-01-29 22:00:55\tscreen_off
2020-01-29 22:01:00\t4G
2020-01-29 22:01:10\tUnknown
2020-01-29 22:01:30\twifi
2020-01-29 22:01:40\tbattery_charged_off
"""
"""It lasts 100 s; after the last message it starts again."""


def phones(folder: Path, **messages: str) -> dict[str, Any]:
    """Write a file of phones; return the availability that names it."""
    path = folder / "state_traces.json"
    traces = {name: {"guid": name, "model": "x", "messages": text} for name, text in messages.items()}
    path.write_text(json.dumps(traces))
    return {"kind": "flash", "file": str(path)}


def spells(timeline: Timeline, until_s: float) -> list[tuple[float, float]]:
    """Return when the timeline is available, up to a time."""
    found, t_s = [], 0.0
    while t_s < until_s:
        end_s = min(timeline.until(t_s), until_s)
        if timeline.available_at(t_s):
            found.append((t_s, end_s))
        t_s = end_s
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [(20, 50)]),  # charging, locked and on Wi-Fi
        ({"when": ["charging"]}, [(0, 100)]),
        ({"when": ["screen-off"]}, [(55, 100)]),
        ({"when": ["charging", "idle", "wifi"]}, [(20, 50), (55, 60), (90, 100)]),
        ({"when": ["online"]}, [(20, 70), (90, 100)]),
        ({"when": ["charging"], "battery": "80%"}, [(20, 100)]),
    ],
)
def test_a_phone_is_available_while_its_states_hold(
    tmp_path: Path, fields: dict[str, Any], expected: list[tuple[float, float]]
) -> None:
    """By hand from ten messages over 100 s; then the trace starts again."""
    timeline = FlashAvailable.model_validate(phones(tmp_path, a=EVENING) | fields).timeline(0, "pi-0")
    again = [(start + 100, end + 100) for start, end in expected]
    joined = [(0, 200)] if expected == [(0, 100)] else expected + again

    assert merged(spells(timeline, 200)) == merged(joined)


def merged(found: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return intervals with those joined that meet."""
    joined: list[tuple[float, float]] = []
    for start, end in found:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def test_the_run_begins_at_the_time_given(tmp_path: Path) -> None:
    """By default at the first message of any phone; what lies before or after is a repetition."""
    later = EVENING.replace("2020-01-29 22:0", "2020-01-29 23:0")
    both = phones(tmp_path, a=EVENING, b=later)
    earliest = FlashAvailable.model_validate(both)
    late = FlashAvailable.model_validate(both | {"starts": "2020-01-29 22:00:30"})

    assert spells(earliest.timeline(0, "a"), 100) == [(20, 50)]
    assert spells(earliest.timeline(0, "b"), 100) == [(20, 50)]  # an hour is 36 repetitions
    assert spells(late.timeline(0, "a"), 100) == [(0, 20), (90, 100)]
    assert late.starts == "2020-01-29 22:00:30"
    assert FlashAvailable.model_validate(both | {"starts": "2020-01-29"}).starts == "2020-01-29 00:00:00"


def test_a_device_is_one_of_the_phones(tmp_path: Path) -> None:
    """That of its own name, else one that is drawn; one without messages or of one moment is never there."""
    config = FlashAvailable.model_validate(
        phones(tmp_path, a=EVENING, none="", moment="2020-01-29 22:00:00\twifi\n")
    )
    drawn = [bool(spells(config.timeline(0, f"pi-{number}"), 100)) for number in range(60)]

    assert spells(config.timeline(0, "a"), 100)
    assert not spells(config.timeline(0, "none"), 100) + spells(config.timeline(0, "moment"), 100)
    assert set(drawn) == {True, False}
    assert drawn == [bool(spells(config.timeline(0, f"pi-{number}"), 100)) for number in range(60)]


WORDS = [*SWITCHES, "wifi", "4G", "Unknown", "7.5%"]
messages = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(WORDS)), min_size=2, max_size=30)


@given(messages, st.integers(0, 100))
def test_it_agrees_with_a_second_by_second_reading(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]], phase: int
) -> None:
    """Each second on its own: the last message of each kind up to then decides, FLASH's rule."""
    at, events = 0, []
    for wait, word in [(0, "wifi"), *steps, (1, "wifi"), (1, "7.5%")]:
        at += wait
        events.append((at, word))
    text = "\n".join(f"2020-01-29 22:{second // 60:02}:{second % 60:02}\t{word}" for second, word in events)
    always = "\n".join(  # somebody has to be there
        f"2020-01-29 22:00:0{second}\t{word}"
        for second, word in enumerate(["battery_charged_on", "screen_lock", "wifi", "wifi"])
    )
    fields = phones(tmp_path_factory.getbasetemp(), a=text, b=always)
    starts = f"2020-01-29 22:{phase // 60:02}:{phase % 60:02}"
    timeline = FlashAvailable.model_validate(fields | {"starts": starts}).timeline(0, "a")

    def last(second: int, *words: str) -> str:
        return next((word for time, word in reversed(events) if time <= second and word in words), "")

    for second in range(2 * at):
        now = (phase + second) % at
        expected = (
            last(now, "battery_charged_on", "battery_charged_off") == "battery_charged_on"
            and last(now, "screen_lock", "screen_unlock") == "screen_lock"
            and last(now, "wifi", "4G", "Unknown") == "wifi"
        )
        assert timeline.available_at(second) == expected
        assert timeline.available_at(second + 0.5) == expected


def test_a_run_waits_for_the_phone(tmp_path: Path) -> None:
    """It starts when the phone is there, at 20 s."""
    group = {
        "name": "pi",
        "device": {"compute": "8 FLOP/s"},
        "link": {"up": "unlimited", "down": "unlimited"},
    }
    fleet = {"clients": 1, "groups": [group], "availability": phones(tmp_path, a=EVENING)}
    run = simulate(read(data(fleet=fleet)), timing_only=True)

    assert run.spans[run.spans["activity"] == "compute"]["start_s"].min() == 20.0


def test_it_is_written_back_and_read_as_the_same(tmp_path: Path) -> None:
    """With the absolute path, under the key that a scenario has; it also survives pickling."""
    group = {"name": "pi", "device": {"compute": "8 FLOP/s"}}
    fields = phones(tmp_path, a=EVENING) | {"when": ["charging"], "battery": "30%", "starts": "2020-01-30"}
    scenario = read(data(fleet={"clients": 1, "groups": [group], "availability": fields}))
    config = scenario.fleet.availability

    assert read(yaml.safe_load(scenario.to_yaml())) == scenario
    assert scenario.to_data()["fleet"]["availability"]["file"] == fields["file"]
    assert list(copies_of(scenario.to_yaml()).values()) == [Path(fields["file"])]
    assert isinstance(config, FlashAvailable)
    assert spells(pickle.loads(pickle.dumps(config)).timeline(0, "a"), 300) == spells(
        config.timeline(0, "a"), 300
    )


def test_the_key_of_earlier_versions(tmp_path: Path) -> None:
    """It is read from a folder, and elsewhere answered with what it is called now."""
    fields = phones(tmp_path, a=EVENING)
    group = {"name": "pi", "device": {"compute": "8 FLOP/s"}}
    written = read(data(fleet={"clients": 1, "groups": [group], "availability": fields})).to_data()
    place = written["fleet"]["availability"]
    place["path"] = place.pop("file")
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(written))

    assert load_scenario(tmp_path).fleet.availability.file == fields["file"]  # type: ignore[union-attr]
    with pytest.raises(ScenarioError, match="'file'"):
        load_scenario(tmp_path / "scenario.yaml")


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("22:00:50", "22:00:05", "time running backwards"),
        ("22:00:50", "22:00:70", "message 5 of device 'a'"),
        ("2020-01-29 22:00:50", "29.01.2020 22:00:50", "message 5 of device 'a'"),
        ("2020-01-29 22:00:50", "", "message 5 of device 'a'"),
        ("screen_unlock", "screen_unlok", "'2020-01-29 22:00:50\\tscreen_unlok' in message 5"),
        ("screen_unlock", "", "message 5"),
        ("\tscreen_unlock", " screen_unlock", "message 5"),
        ("83.0%", "830%", "message 4"),
        ("83.0%", "83,0%", "message 4"),
        ("battery_charged_on", "battery_charged_off", "nobody there"),
    ],
)
def test_a_wrong_message_is_refused(tmp_path: Path, old: str, new: str, found: str) -> None:
    """With its number and the device."""
    check_refused(phones(tmp_path, a=EVENING.lstrip().replace(old, new)), "file", found)


def test_of_several_wrong_devices_the_first_is_told_and_the_number(tmp_path: Path) -> None:
    """So that one knows whether to correct or to leave out."""
    wrong = "2020-01-29 22:00:00 wifi"
    check_refused(phones(tmp_path, a=EVENING, b=wrong, c=wrong, d=wrong), "file", "others with a mistake: 2")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "empty"),
        ("[]", "no object"),
        ("{}", "no device"),
        ('{"a": 3}', "device 'a'"),
        ('{"a": {"messages": 3}}', "device 'a'"),
        ('{"a": {"model": "x"}}', "device 'a'"),
        ('{"a": {"messages": ""}}', "nobody there"),
        ('{"a": {"messages": ""}, "a": {}}', "twice"),
        ("a,b\n1,2\n", "line 1"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: str, found: str) -> None:
    """At the key of the file."""
    (tmp_path / "other.json").write_text(content)
    check_refused({"kind": "flash", "file": str(tmp_path / "other.json")}, "file", found)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"file": "none.json"}, "file"),
        ({"when": []}, "when"),
        ({"when": ["charging", "locke"]}, "when[1]"),
        ({"battery": "130%"}, "battery"),
        ({"starts": "tonight"}, "starts"),
        ({"starts": "22:00"}, "starts"),
        ({"whn": ["charging"]}, "whn"),
        ({"kind": "flsh"}, "kind"),
    ],
)
def test_wrong_keys_are_refused(tmp_path: Path, fields: dict[str, Any], key: str) -> None:
    """Each at its own."""
    check_refused(phones(tmp_path, a=EVENING) | fields, key, "")


def check_refused(availability: dict[str, Any], key: str, found: str) -> None:
    group = {"name": "pi", "device": {"compute": "8 FLOP/s"}}
    with pytest.raises(ScenarioError) as caught:
        read(data(fleet={"clients": 1, "groups": [group], "availability": availability}))
    (problem,) = caught.value.problems

    assert problem.path == f"fleet.availability.{key}"
    assert found in str(problem)
    assert problem.allowed


def test_a_file_is_read_once_as_long_as_it_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By content and rule, wherever it lies: a what-if reads the same again, a changed file anew."""
    read_files: list[str] = []
    reading = files.json_object

    def counted(file: str) -> dict[str, Any]:
        read_files.append(file)
        return reading(file)

    monkeypatch.setattr(files, "json_object", counted)
    own = EVENING.replace("22:01:40", "22:01:41")  # no other test reads it
    (tmp_path / "copy").mkdir()
    for folder in (tmp_path, tmp_path, tmp_path / "copy"):
        FlashAvailable.model_validate(phones(folder, a=own))
    assert len(read_files) == 1
    FlashAvailable.model_validate(phones(tmp_path, a=own) | {"when": ["charging"]})
    assert len(read_files) == 2
    changed = FlashAvailable.model_validate(phones(tmp_path, a=own.replace("22:00:20", "22:00:30")))
    assert spells(changed.timeline(0, "pi-0"), 60) == [(30, 50)]
