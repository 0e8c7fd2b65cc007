"""Whatever is handed in as a scenario, it is a Scenario or a ScenarioError that says where and what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sflsim.errors import Problem, ScenarioError
from sflsim.scenario import load_scenario, parse_scenario
from sflsim.scenario.text_files import MAX_BYTES

GOOD = """\
name: good
seeds: [0, 1]
workload:
  model: {kind: mlp, hidden: [8]}
  cut: 1
  batch_size: 32
  partition: {kind: dirichlet, alpha: 0.5}
fleet:
  clients: 10
  participants: 5
  groups:
    - {share: 70%, device: raspberry-pi-4, link: wifi}
    - {share: 30%, device: {compute: 5 GFLOP/s}, link: {up: 10 Mbit/s, down: 40 Mbit/s, latency: 35 ms}}
  straggler: {kind: exponential, mean: 2 s}
server: {compute: 10 TFLOP/s, slots: 4}
variants:
  - {algorithm: splitfed-v1}
  - {algorithm: mu-splitfed, tau: [1, adaptive]}
stop: {rounds: 300, accuracy: 95%}
evaluate: {every: 10 rounds}
"""

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]\n"
    for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)

# What is wrong: (replaced, by, path, line, words of the message). The rest of GOOD stays as it is.
TABLE: dict[str, tuple[str, str, str, int, str]] = {
    "unknown key": ("batch_size: 32", "batchsize: 32", "workload.batchsize", 6, "did you mean 'batch_size'?"),
    "renamed key": ("2 s}", "2 s, spells: {}}", "fleet.straggler.spells", 14, "'spells' is now 'bursts'"),
    "unknown top key": ("evaluate:", "evaluation:", "evaluation", 20, "did you mean 'evaluate'?"),
    "unknown kind": ("exponential", "exponentail", "fleet.straggler.kind", 14, "did you mean 'exponential'?"),
    "unknown algorithm": ("splitfed-v1", "splitfed-1", "variants[0].algorithm", 17, "mean 'splitfed-v1'?"),
    "unknown model": ("kind: mlp", "kind: resnet", "workload.model.kind", 4, "mlp, cnn"),
    "unknown device": ("raspberry-pi-4,", "raspbery-pi-4,", "fleet.groups[0].device", 12, "mean 'rasp"),
    "missing key": ("10 Mbit/s, down", "10 Mbit/s, dwn", "fleet.groups[1].link.down", 13, "10 Mbit/s"),
    "missing tag": ("{algorithm: splitfed-v1}", "{}", "variants[0].algorithm", 17, "splitfed-v1"),
    "wrong unit": ("up: 10 Mbit/s", "up: 10 s", "fleet.groups[1].link.up", 13, "unit of measure"),
    "wrong unit of a straggler": ("2 s", "2 Mbit/s", "fleet.straggler.mean", 14, "2 s"),
    "unknown unit": ("35 ms", "35 mss", "fleet.groups[1].link.latency", 13, "unknown unit"),
    "bare number": ("35 ms", "35", "fleet.groups[1].link.latency", 13, "write the unit behind the number"),
    "bare rounds": ("10 rounds", "10", "evaluate.every", 20, "did you mean '10 rounds'?"),
    "negative": ("5 GFLOP/s", "-5 GFLOP/s", "fleet.groups[1].device.compute", 13, "above zero"),
    "zero": ("rounds: 300", "rounds: 0", "stop.rounds", 19, "a number from 1 up"),
    "participants": ("participants: 5", "participants: 11", "fleet.participants", 10, "10"),
    "shares": ("70%", "60%", "fleet.groups", 11, "100%"),
    "share above all": ("70%", "170%", "fleet.groups[0].share", 12, "up to 100%"),
    "missing file": ("exponential, mean: 2 s", "empirical, file: no.csv", "fleet.straggler.file", 14, "CSV"),
    "NaN": ("0.5", ".nan", "workload.partition.alpha", 7, "a finite number"),
    "NaN as text": ("0.5", "nan", "workload.partition.alpha", 7, "a finite number"),
    "infinity": ("0.5", "-.inf", "workload.partition.alpha", 7, "a finite number"),
    "too large a float": ("0.5", "1e999", "workload.partition.alpha", 7, "a finite number"),
    "infinite quantity": ("2 s", "1e400 s", "fleet.straggler.mean", 14, "finite"),
    "huge number": ("slots: 4", f"slots: {10**400}", "server.slots", 15, "64 bits"),
    "huger number": ("slots: 4", f"slots: {'9' * 5000}", "server.slots", 15, "64 bits"),
    "text for a number": ("clients: 10", "clients: ten", "fleet.clients", 9, "a whole number"),
    "truth for a number": ("clients: 10", "clients: true", "fleet.clients", 9, "a whole number"),
    "a list for a mapping": ("stop: {rounds: 300, accuracy: 95%}", "stop: [1]", "stop", 19, "a mapping"),
    "nothing": ("10 TFLOP/s", "", "server.compute", 15, "found nothing"),
    "no stop": ("rounds: 300, ", "", "stop", 19, "add e.g. 'rounds: 300'"),
    "seed twice": ("[0, 1]", "[1, 1]", "seeds[1]", 2, "each once"),
    "negative seed": ("[0, 1]", "[0, -1]", "seeds[1]", 2, "from 0 up"),
    "no seeds": ("[0, 1]", "[]", "seeds", 2, "at least 1"),
    "unsafe name": ("name: good", "name: ../bad", "name", 1, "letters, digits"),
    "duplicate key": ("  cut: 1", "  cut: 1\n  cut: 2", "workload.cut", 6, "stands in line 5 already"),
    "number as key": ("slots: 4", "4: slots", "server", 15, "keys that are text"),
    "list as key": ("slots: 4", "[4]: slots", "server", 15, "keys that are text"),
    "tag": ("slots: 4", "slots: !!python/name:os.system 4", "server.slots", 15, "without a tag"),
    "wrong tag": ("slots: 4", "slots: !!int four", "server.slots", 15, "plain values"),
    "alias in itself": ("seeds: [0, 1]", "seeds: &a [*a]", "seeds[0]", 2, "an alias within"),
    "deep nesting": ("[0, 1]", "[" * 500 + "]" * 500, "", 2, "deep"),
    "no YAML": ("[0, 1]", "[0, 1", "", 3, "no readable YAML"),
    "tab": ("  cut: 1", "\tcut: 1", "", 5, "no readable YAML"),
    "unknown alias": ("[0, 1]", "*seeds", "", 2, "no readable YAML"),
    "two documents": ("stop:", "---\nstop:", "", 19, "no readable YAML"),
}  # fmt: skip


def test_good() -> None:
    """The scenario that the table spoils is a good one."""
    assert len(parse_scenario(GOOD).variants) == 3


@pytest.mark.parametrize("wrong", TABLE)
def test_table(wrong: str) -> None:
    """The mistake is reported at its path and line, with what is allowed."""
    replaced, by, path, line, words = TABLE[wrong]
    assert replaced in GOOD
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(GOOD.replace(replaced, by, 1), "bad.yaml")
    problem = next(problem for problem in caught.value.problems if problem.path == path)
    assert ("bad.yaml", line) == (problem.file, problem.line)
    assert words in str(problem)


def test_all_at_once() -> None:
    """Mistakes in different parts are reported together, in the order of the file."""
    text = GOOD
    wrong = ("unknown model", "unknown key", "bare number", "unknown algorithm", "zero", "bare rounds")
    for replaced, by, *_ in (TABLE[one] for one in wrong):
        text = text.replace(replaced, by, 1)
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text)
    assert [problem.line for problem in caught.value.problems] == [4, 6, 13, 17, 19, 20]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"# nothing but a comment\n", "an empty file"),
        (b"just text", "a mapping"),
        (b"- a\n- b\n", "a mapping"),
        (BOMB.encode(), "100000 values"),
        (bytes(range(256)), "UTF-8"),
        (GOOD.encode("utf-16"), "UTF-8"),
        (b"name: \x00\n", r"found the character U\+0000"),
        (b'name: "\\UFFFFFFFF"\n', "no readable YAML"),
        (b"name: x\n" + b"#" * MAX_BYTES, "more than 1 MiB"),
    ],
)
def test_files(tmp_path: Path, content: bytes, words: str) -> None:
    """A file that is no scenario at all is refused by name."""
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError, match=words) as caught:
        load_scenario(path)
    assert {str(path)} == {problem.file for problem in caught.value.problems}


def test_missing_file(tmp_path: Path) -> None:
    """A missing file's error names the one that was meant; a folder is no file."""
    (tmp_path / "quickstart.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"did you mean 'quickstart\.yaml'\?"):
        load_scenario(tmp_path / "quikstart.yaml")
    for path in (tmp_path / "no" / "such.yaml", tmp_path, tmp_path / "nul\0.yaml"):
        with pytest.raises(ScenarioError):
            load_scenario(path)


def check(text: str, overrides: Sequence[str] = ()) -> None:
    """Read `text`: a Scenario that survives saving, or an error whose every part is there."""
    problems: Sequence[Problem] = ()
    try:
        scenario = parse_scenario(text, "x.yaml", overrides)
    except ScenarioError as error:
        problems = error.problems
    else:
        assert parse_scenario(scenario.to_yaml()) == scenario
    assert all(problem.found and problem.allowed and problem.file for problem in problems)


WORDS = st.sampled_from(
    ["kind", "algorithm", "mlp", "wifi", "mean", "2 s", "1 Mbit/s", "nan", "70%", "10 rounds", "adaptive"]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(WORDS | st.text(max_size=4), below, max_size=3)
    ),
    max_leaves=8,
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(st.text(max_size=60) | VALUES.map(yaml.safe_dump))
@example("? {a: b}\n: c")
@example("<<: {a: b}")
@example("%TAG ! x\n--- 3")
@example("name: !!binary aGk=")
def test_any_text(text: str) -> None:
    """Any text."""
    check(text)


@QUICK
@given(st.binary(max_size=60))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Any bytes."""
    path = tmp_path_factory.mktemp("any") / "any.yaml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError):  # the required keys need more than 60 bytes
        load_scenario(path)


@QUICK
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 12),
    st.text(max_size=4) | st.sampled_from("[]{}:,-*&!#\n\t'\"%"),
)
def test_any_typing_error(start: int, length: int, typed: str) -> None:
    """A good scenario with any few characters replaced."""
    check(GOOD[:start] + typed + GOOD[start + length :])


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in `data`, its own first."""
    steps = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for step, below in steps for place in places(below, (*path, step)))]


@st.composite
def spoiled(draw: st.DrawFn) -> str:
    """Draw a good scenario with one or two values replaced, left out or put under another key."""
    data = yaml.safe_load(GOOD)
    for _ in range(draw(st.integers(1, 2))):
        *path, last = draw(st.sampled_from(places(data)[1:]))
        holder: Any = data
        for step in path:
            holder = holder[step]
        change = draw(st.sampled_from(["replace", "replace", "leave out", "rename"]))
        value = holder.pop(last) if change != "replace" else draw(VALUES)
        if change == "replace":
            holder[last] = value
        elif change == "rename" and isinstance(holder, dict):
            holder[draw(WORDS)] = value
    return yaml.safe_dump(data, sort_keys=False)


@settings(QUICK, max_examples=120)
@given(spoiled())
def test_any_spoiled_scenario(text: str) -> None:
    """A good scenario with any values replaced, left out or under another key."""
    check(text)


PATHS = st.sampled_from(
    ["stop.rounds", "variants[mu-splitfed].tau", "variants[0]", "fleet.groups[1].link", "fleet", "seeds[0]"]
)  # fmt: skip


@QUICK
@given(st.lists(st.text(max_size=20) | st.builds("{}={}".format, PATHS, VALUES), max_size=3))
def test_any_overrides(overrides: list[str]) -> None:
    """A good scenario with any overrides."""
    check(GOOD, overrides)
