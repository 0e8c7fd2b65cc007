"""The gallery: its page is made of what is kept, and its sentences say what the tables say."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml
from support import data, imported

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gallery() -> ModuleType:
    return imported(ROOT / "docs" / "gallery.py")


def test_the_page_is_made_of_what_is_kept(gallery: ModuleType) -> None:
    """Every scenario and every study is in it, with its command; what is kept, with all that it shows."""
    text = gallery.page()
    assert gallery.kept()
    for entry, made in gallery.kept().items():
        assert gallery.section(entry, made) in text
    files = [*(ROOT / "scenarios").rglob("*.yaml"), *(ROOT / "analysis").glob("[a-z]*.py")]
    assert len(gallery.entries()) == len(files)
    for file in files:
        assert file.relative_to(ROOT).as_posix() in text


def test_names_and_commands_differ(gallery: ModuleType) -> None:
    found = gallery.entries()
    assert len({entry.name for entry in found}) == len({entry.command for entry in found}) == len(found)
    assert {entry.verb for entry in found} == {"run", "sweep", "plan", "study"}
    assert all(len(entry.question) > 20 for entry in found)


def summary(**columns: list[object]) -> pd.DataFrame:
    """Two variants; columns stand in place of what they have otherwise."""
    usual = {"seeds": [3, 3], "undecided": [False, False], "target": [0.8, 0.8], "accuracy_mean": [0.9, 0.7]}
    return pd.DataFrame({"variant": ["a", "b"], **usual, **columns})


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"time_s": [90.0, 30.0], "seeds_reached": [3, 2]},
            "b is first at 80 %, after 30.0 s (2 of 3 seeds).",
        ),
        (
            {"time_s": [90.0, 80.0], "seeds_reached": [3, 3], "undecided": [True, False]},
            "b is first at 80 %, after 80.0 s (3 of 3 seeds). These seeds cannot tell it from a.",
        ),
        (
            {"time_s": [200.0, float("nan")], "seeds_reached": [3, 0]},
            "a is first at 80 %, after 3.33 min (3 of 3 seeds). Not there: b.",
        ),
        (
            {"time_s": [60.0, 60.0], "seeds_reached": [None, None]},
            "a ends with the highest accuracy, 90.0 %.",
        ),
    ],
)
def test_what_a_run_shows(gallery: ModuleType, columns: dict[str, list[object]], sentence: str) -> None:
    assert gallery.sentence_of_run(summary(**columns)) == sentence


def test_what_a_sweep_shows(gallery: ModuleType) -> None:
    rows = pd.DataFrame(
        {"point": [0, 0, 1, 1, 2, 2], "variant": ["a", "b"] * 3, "time_s": [1, 2, 4, 3, float("nan"), 5]}
    )
    assert gallery.sentence_of_sweep(rows) == "First at the target, of 3 points: b at 2, a at 1."


@pytest.mark.parametrize(
    ("printed", "sentence"),
    [("a 1\nb 2\nb is larger.\n", "b is larger."), ("a 1\n\nb: 2\n", "b: 2"), ("a 1\nb 2\n", ""), ("", "")],
)
def test_what_a_study_shows(gallery: ModuleType, printed: str, sentence: str) -> None:
    assert gallery.sentence_of_study(printed) == sentence


@pytest.mark.slow
def test_an_entry_is_made_alone(gallery: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its command; what it shows is kept, and its picture; one that was stopped goes on."""
    (tmp_path / "scenarios").mkdir()
    file = tmp_path / "scenarios" / "small.yaml"
    variants = [{"algorithm": "splitfed-v1"}, {"algorithm": "splitfed-v2"}]
    content = data(variants=variants, stop={"rounds": 2}, target_accuracy="5%")
    file.write_text("# Is a|b < *c*? Yes.\n" + yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr(gallery, "ROOT", tmp_path)
    monkeypatch.setattr(gallery, "KEPT", tmp_path / "kept")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    entry = gallery.Entry(file, "run")
    gallery.make(entry, tmp_path / "work")
    made = gallery.Made(**json.loads((tmp_path / "kept" / "small.json").read_text("utf-8")))
    assert made.processor_s > 0
    assert made.columns["variant"] == ["splitfed-v1", "splitfed-v2"]
    assert (tmp_path / "kept" / "small.png").read_bytes().startswith(b"\x89PNG")
    text = gallery.section(entry, made)
    assert r"Is a\|b < \*c\*?" in text
    assert "sflsim run scenarios/small.yaml" in text
    assert text.count("\n| ") == 4

    (tmp_path / "work" / "small.started").touch()
    gallery.make(entry, tmp_path / "work")
    again = gallery.Made(**json.loads((tmp_path / "kept" / "small.json").read_text("utf-8")))
    assert again.processor_s is None
    assert again.columns == made.columns
