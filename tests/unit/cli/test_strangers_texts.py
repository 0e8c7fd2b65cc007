"""A stranger's texts are commands to no terminal or spreadsheet; narrow and plain terminals show names."""

from __future__ import annotations

import io
import time
import warnings
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text
from support import data, read

from sflsim import simulate
from sflsim.cli.console import Tolerant
from sflsim.errors import SflsimWarning, tell_warnings_plainly
from sflsim.formatting import csv_text
from sflsim.readers.table import NUMBER
from sflsim.report.html_points import MEASURED
from sflsim.report.plots import plot_all
from sflsim.terminal.summary import format_summary
from sflsim.terminal.tables import add_columns, add_rows, new_table

NAMES = ["mu-splitfed tau=adaptive", "splitfed-v1", "聯邦學習"]


def printed(width: int, figures: int) -> str:
    table = new_table()
    add_columns(table, ["variant"], [f"figure-{number}" for number in range(figures)])
    add_rows(table, [[name, *["1234567"] * figures] for name in NAMES])
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_columns_go_before_names(width: int) -> None:
    """What is left out is named, what is left is whole, and no line is longer than the terminal."""
    text = printed(width, figures=6)
    words = {word for name in NAMES for word in name.split()}
    assert all(word in text for word in words)
    assert "figure-5" in text.replace("\n", " ")
    assert max(Text(line).cell_len for line in text.splitlines()) <= width
    assert "…" not in text


def test_a_wide_terminal_shows_every_column() -> None:
    """Nothing is said of columns that are all there."""
    assert "Left out" not in printed(200, figures=6)


def test_the_summary_of_a_run_in_40_columns() -> None:
    """Names and accuracies stay."""
    run = simulate(
        read(data(variants=[{"algorithm": "splitfed-v1"}, {"algorithm": "splitfed-v2"}])), timing_only=True
    )
    console = Console(width=30, file=io.StringIO())
    console.print(format_summary(run.summary()))
    assert isinstance(console.file, io.StringIO)
    assert {"splitfed-v1", "splitfed-v2"} <= set(console.file.getvalue().split())


def test_a_plain_encoding_has_signs_of_its_own() -> None:
    """Not an escape for each sign that we write ourselves."""
    content = io.BytesIO()
    stream = Tolerant(io.TextIOWrapper(content, encoding="ascii"))
    stream.write("12.8 ±9.5 ✗ é")
    stream.flush()
    assert content.getvalue() == b"12.8 +-9.5 x \\xe9"


def test_a_warning_says_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters of a file are written out."""
    before = warnings.showwarning
    tell_warnings_plainly()
    try:
        warnings.showwarning(SflsimWarning("a\x1b]0;title\x07\u202eb"), SflsimWarning, "file.py", 1)
    finally:
        warnings.showwarning = before
    assert capsys.readouterr().err == "warning: a\\x1b]0;title\\x07\\u202eb\n"


@settings(max_examples=50)
@given(st.text(alphabet=st.sampled_from("=+-@\t\r\n\x1b1e. as"), max_size=6))
def test_no_cell_is_a_formula(text: str) -> None:
    """A text that a spreadsheet would compute begins with an apostrophe; numbers stay numbers."""
    frame = pd.DataFrame({text or "name": ["x"], "text": [text], "number": [-1.5]})
    read_again = pd.read_csv(io.StringIO(csv_text(frame)), dtype=str, keep_default_na=False)
    assert read_again["number"].tolist() == ["-1.5"]
    for cell in (read_again.columns[0], read_again["text"][0]):
        assert cell[:1] not in ("=", "@", "\t", "\r")
        assert "\x1b" not in cell
        assert cell[:1] not in ("+", "-") or cell[1:2].isdigit()


@pytest.mark.parametrize("text", ["1" * 20_000 + "!", "1 " + " " * 20_000 + "!", "1 " + "a " * 20_000 + "!"])
def test_texts_are_read_in_linear_time(text: str) -> None:
    """A long text that is nearly a number takes no minutes."""
    started_s = time.process_time()
    assert MEASURED.fullmatch(text) is None
    assert NUMBER.fullmatch(text) is None
    assert time.process_time() - started_s < 1


def test_missing_glyphs_are_told_in_one_sentence(tmp_path: Path) -> None:
    """Whatever the number of pictures and characters; not by the library."""
    run = simulate(read(data()), timing_only=True)
    spans = run.spans.assign(variant="聯邦學習")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert len(plot_all({"spans": spans}, tmp_path)) == 2
    assert [one.category for one in told] == [SflsimWarning]
    assert set("聯邦學習") <= set(str(told[0].message))
