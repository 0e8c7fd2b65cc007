"""CSV, TSV and JSON lines of users: each cell comes back, and what is ambiguous is refused with its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sflsim.errors import ScenarioError
from sflsim.fleet.availability.config import TraceAvailable
from sflsim.fleet.distributions.empirical import Empirical
from sflsim.fleet.traces import TraceConfig
from sflsim.registry import datasets as kinds

# Each door takes the path of a file and returns what was read of it.


def delays(file: Path) -> list[float]:
    return drawn(Empirical(file=str(file), values_in="ms"))


def delays_of_a_column(file: Path) -> list[float]:
    return drawn(Empirical(file=str(file), column="delay", values_in="ms"))


def drawn(delay: Empirical) -> list[float]:
    """All that a distribution draws, sorted."""
    return np.unique(delay.sample(np.random.default_rng(0), 200)).tolist()


def rates(file: Path) -> list[float]:
    trace = TraceConfig(file=str(file), column="rate", values_in="byte/s").profile(0, "pi-0")
    return [trace.value_at(t_s) for t_s in range(3)]


def presence(file: Path) -> list[float]:
    trace = TraceAvailable(file=str(file), column="rate").profile(0, "pi-0")
    return [trace.value_at(t_s) for t_s in range(3)]


def samples(file: Path) -> list[tuple[str, int]]:
    """Texts and labels of a training split."""
    config = {"kind": "huggingface", "path": str(file), "columns": {"text": "text", "label": "label"}}
    source = kinds()["huggingface"].model_validate(config).load_source()
    labels = source.labels("train")
    return list(zip(source.inputs("train", np.arange(len(labels))), labels.tolist(), strict=True))


def told(door: Callable[[Path], Any], file: Path) -> str:
    """Return what is told of a file that is refused: one mistake, in words."""
    with pytest.raises((ValidationError, ScenarioError)) as caught:
        door(file)
    if isinstance(caught.value, ScenarioError):
        return str(caught.value)
    (error,) = caught.value.errors()
    return " ".join(str(error["ctx"][part]) for part in ("found", "reason", "allowed", "remedy"))


def put(folder: Path, content: str | bytes, suffix: str = ".csv") -> Path:
    file = folder / f"mine{suffix}"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("door", "content", "words"),
    [
        (delays, "delay\n12,5\n13,1\n", ["'12,5' in line 2 of mine.csv", "2 cells", "12.5"]),
        (delays, "delay\n12\n1,250,000\n", ["'1,250,000' in line 3 of mine.csv", "3 cells", "1250000"]),
        (delays, "12,5\n13,1\n", ["'12, 5' in line 1 of mine.csv", "no header", "12.5"]),
        (delays, '"12,5"\n', ["'12,5' in line 1 of mine.csv", "12.5"]),
        (delays, 'delay\n"1,250,000"\n', ["'1,250,000' in line 2 of mine.csv"]),
        (delays, "delay\n1.250.000\n", ["'1.250.000' in line 2 of mine.csv"]),
        (delays, "delay\n1 250\n", ["'1 250' in line 2 of mine.csv"]),
        (delays, "delay\n1_250\n", ["'1_250' in line 2 of mine.csv"]),
        (delays, "delay\n1\u0662\n", ["'1\u0662' in line 2 of mine.csv"]),
        (delays, "1\n\n3\n", ["line 2 of mine.csv", "blank line"]),
        (delays, "1\n3\nn/a\n", ["'n/a' in line 3 of mine.csv"]),
        (delays_of_a_column, "who;delay\na;1\n", ["'who;delay' in line 1 of mine.csv", "another separator"]),
        (delays_of_a_column, "delay,delay\n1,2\n", ["'delay' twice in line 1 of mine.csv"]),
        (delays_of_a_column, "delay, delay\n1,2\n", ["'delay' twice in line 1 of mine.csv"]),
        (delays_of_a_column, ",delay\n0,1\n1,2\n", ["no name for column 1 in line 1 of mine.csv", "index"]),
        (delays_of_a_column, "who,delay\na,1\nb\n", ["'b' in line 3 of mine.csv", "one cell"]),
        (delays_of_a_column, "who,delay\na,1\nb,\n", ["'' in line 3 of mine.csv"]),
        (delays_of_a_column, "who,delay\na,1,\n", ["'a,1,' in line 2 of mine.csv", "3 cells"]),
        (delays_of_a_column, '"who,delay\na,1\n', ["line 1 of mine.csv", "stray quotation mark"]),
        (delays_of_a_column, 'who,delay\n"a"b,1\n', ["'\"a\"b,1' in line 2", "stray quotation mark"]),
        (delays, "delay\n12\n-\n", ["'-' in line 3 of mine.csv", "is no number"]),
        (delays_of_a_column, "who,de lay\na,1\n", ["'who', 'de lay'", "did you mean 'de lay'?"]),
        (delays_of_a_column, "who,delay\u200b\na,1\n", ["'delay\\u200b' in line 1", "cannot be seen"]),
        (rates, "time s,rate\n0,1\n", ["'time s', 'rate'", "'time_column: time s'", "'time_s'"]),
        (rates, "time_s,rate\n0,-\n", ["'-' in line 2 of mine.csv", "is no number"]),
        (presence, "time_s,rate\n0,-\n", ["'-' in line 2 of mine.csv", "is no number"]),
        (rates, "time_s,rate\n0,1\n1,2,5\n2,3\n", ["'1,2,5' in line 3 of mine.csv", "3 cells"]),
        (rates, "time_s,rate,rate\n0,1,7\n", ["'rate' twice in line 1 of mine.csv"]),
        (rates, "time_s,rate\n0,1\n,2\n", ["'' in line 3 of mine.csv", "time that is none"]),
        (rates, "time_s,rate\n0,1\n1_0,2\n", ["'1_0' in line 3 of mine.csv", "time that is none"]),
        (presence, "time_s,rate\n0,1\n1,0,5\n", ["'1,0,5' in line 3 of mine.csv", "3 cells"]),
        (presence, "time_s,rate,rate\n0,1,0\n", ["'rate' twice in line 1 of mine.csv"]),
        (samples, "text,label\ngood, really,1\nbad,0\n", ["in line 2 of mine.csv", "3 cells"]),
        (samples, "text,label\ngood,1\nbad\n", ["'bad' in line 3 of mine.csv", "one cell"]),
        (samples, "text,label,label\ngood,1,0\n", ["'label' twice in line 1 of mine.csv"]),
        (samples, ",text,label\n0,good,1\n", ["no name for column 1 in line 1 of mine.csv"]),
        (samples, "text,label\ngood,1\nbad,\n", ["a missing value in 'label'", "in line 3 of mine.csv"]),
        (samples, "text,label\n,1\nbad,0\n", ["a missing value in 'text'", "in line 2 of mine.csv"]),
        (samples, "text,label\ngood,1\nbad,NA\n", ["'NA' in train"]),
        (samples, "text,label\ngood,1\n\nbad,0\n", ["line 3 of mine.csv", "blank line"]),
        (samples, 'text,label\n"good,1\nbad,0\n', ["line 2 of mine.csv", "stray quotation mark"]),
    ],
)  # fmt: skip
def test_what_is_ambiguous_is_refused_with_its_line(
    door: Callable[[Path], Any], content: str, words: list[str], tmp_path: Path
) -> None:
    """Decimal commas, thousands, stray marks, names twice or none, short and long rows, gaps."""
    message = told(door, put(tmp_path, content))
    assert [word for word in words if word not in message] == []


FORTY = [f"text number {number}\t{number % 2}" for number in range(40)]


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
@pytest.mark.parametrize("last", [18, 4])
def test_a_stray_mark_swallows_no_rows(suffix: str, last: int, tmp_path: Path) -> None:
    """One opens a cell in line 3, another closes it far below: all rows between would be one text."""
    rows = list(FORTY)
    rows[1] = f'"{rows[1]}'
    text, _, label = rows[last - 2].partition("\t")
    rows[last - 2] = f'{text}"\t{label}'
    content = "\n".join(["text\tlabel", *rows])
    message = told(
        samples, put(tmp_path, content if suffix == ".tsv" else content.replace("\t", ","), suffix)
    )

    assert "in line 3 of mine" in message
    assert f"swallows the rows down to line {last}" in message


def test_a_stray_mark_swallows_no_rows_of_three_columns(tmp_path: Path) -> None:
    """With a number of its own for each row the others still tell."""
    rows = [f"{number},text,{'good' if number % 2 else 'bad'}" for number in range(40)]
    rows[5] = '5,"text,good'
    rows[20] = '20,text",bad'
    content = "\n".join(["id,text,label", *rows])

    assert "swallows the rows down to line 22" in told(samples, put(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text,label\ngood,1\n".encode("utf-16"), "UTF-16 in mine.csv"),
        ("text,label\ngood,1\n".encode("utf-16-be"), "a NUL byte in line 1 of mine.csv"),
        ("text,label\ngood,1\n".encode("utf-32"), "UTF-32 in mine.csv"),
        ("text,label\ngood,1\ncafé,0\n".encode("latin-1"), "the byte 0xe9 in line 3 of mine.csv"),
        ("text,label\ngood,1\n“bad”,0\n".encode("cp1252"), "the byte 0x93 in line 3 of mine.csv"),
        (b"text,label\ngood,1\nb\0d,0\n", "a NUL byte in line 3 of mine.csv"),
        ("\ufefftext,label\ngood,1\n\ufefftext,label\n".encode(), "a byte order mark in line 3 of mine.csv"),
        (b"\x1f\x8b\x08rest", "a gzip archive in mine.csv"),
        (b"PK\x03\x04rest", "an Excel file in mine.csv"),
        (b"PAR1rest", "a Parquet file in mine.csv"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("door", [delays, rates, presence, samples])
def test_other_encodings_are_refused_by_name(
    door: Callable[[Path], Any], content: bytes, words: str, tmp_path: Path
) -> None:
    """UTF-8 with or without its mark is read, nothing is guessed."""
    assert words in told(door, put(tmp_path, content))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_may_end_as_they_like(newline: str, mark: str, tmp_path: Path) -> None:
    """With and without a byte order mark, and blank lines at the end."""
    one = put(tmp_path, mark + newline.join(["delay", "12.5", "1e3", "+7", "", ""]))
    assert delays(one) == pytest.approx([0.007, 0.0125, 1.0])
    two = put(tmp_path, mark + newline.join(["time_s,rate", "0,1", "1,0", "2,1", ""]))
    assert rates(two) == presence(two) == [1, 0, 1]
    assert samples(put(tmp_path, mark + newline.join(["text,label", "so,1", "no,0"]))) == [
        ("so", 1),
        ("no", 0),
    ]


def test_cells_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Separators, doubled marks, line breaks, marks amid a cell, blanks, "NA", long texts."""
    texts = [
        'say ""yes"", now', "two\nlines, or\nthree", "one\r\ntwo", " blanks ", "NA", "nan",
        "\u2028x\x85y\x0bz", "a" * 200_000, "5",
    ]  # fmt: skip
    quoted = "".join(f'"{text}",{number % 2}\n' for number, text in enumerate(texts))
    tabbed = "".join(f'"{text}"\t{number % 2}\n' for number, text in enumerate(texts))
    wanted = [(text.replace('""', '"'), number % 2) for number, text in enumerate(texts)]

    assert samples(put(tmp_path, f"text,label\n{quoted}")) == wanted
    assert samples(put(tmp_path, f"text\tlabel\n{tabbed}", ".tsv")) == wanted
    assert samples(put(tmp_path, 'text,label\nit is 5" long,1\n')) == [('it is 5" long', 1)]
    written = "\n".join(json.dumps({"text": t, "label": n}, ensure_ascii=False) for t, n in wanted)
    assert samples(put(tmp_path, written, ".jsonl")) == wanted


def test_a_text_of_two_lines_is_no_two_rows(tmp_path: Path) -> None:
    """A line break and a comma in a text are not taken for a stray mark, where the rest is no label."""
    rows = 'text,label\n"Great, but\nlong",1\n"Short, but\ngood, too",0\nfine,1\n'
    assert samples(put(tmp_path, rows)) == [
        ("Great, but\nlong", 1),
        ("Short, but\ngood, too", 0),
        ("fine", 1),
    ]


def test_tsv_and_json_lines_feed_the_fleet_too(tmp_path: Path) -> None:
    """The same table in each format gives the same numbers; a comma in a TSV is told."""
    rows = [(0, 1.0), (1, 0.0), (2, 1.0)]
    tsv = put(tmp_path, "time_s\trate\n" + "\n".join(f"{t_s}\t{rate}" for t_s, rate in rows), ".tsv")
    lines = "\n".join(json.dumps({"time_s": t_s, "rate": rate}) for t_s, rate in rows)
    assert rates(tsv) == rates(put(tmp_path, lines, ".jsonl")) == presence(tsv) == [1, 0, 1]
    assert delays(put(tmp_path, '{"delay": 12.5}\n{"delay": "3"}\n', ".jsonl")) == [0.003, 0.0125]
    assert "'12,5' in line 2 of mine.tsv" in told(delays, put(tmp_path, "delay\n12,5\n", ".tsv"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "a", "label": 1}\n{"text": "b"}\n', "a missing value in 'label' of train in line 2"),
        ('{"text": "a", "label": 1}\n{"text": "b", "label": null}\n', "in line 2 of mine.jsonl"),
        ('{"text": "a", "label": 1, "label": 0}\n', "the key 'label' twice"),
        ('{"text": "a", "label": NaN}\n', "NaN is no JSON"),
        ('{"text": "a", "label": 1}\n{"text": "b", "label": 0\n', "in line 2 of mine.jsonl"),
        ('{"text": "a", "label": 1}\n\n{"text": "b", "label": 0}\n', "in line 2 of mine.jsonl"),
        ('["a", 1]\n', "no object"),
        ('{"text": "a", "label": 1}\n7\n', "'7' in line 2 of mine.jsonl"),
        ('{"text": "a", "label": 1}\n{"text": 7, "label": 0}\n', "the column 'text' of mine.jsonl"),
        ('{"text": "a", "label": 1}\n{"text": "b", "label": "0"}\n', "the column 'label' of mine.jsonl"),
        ('{"text": "\\ud800", "label": 1}\n', "the column 'text' of mine.jsonl"),
        ("[" * 100_000, "cannot be read"),
        ("", "is empty"),
        ("[]", "is empty"),
    ],
)  # fmt: skip
def test_broken_json_lines_are_told(content: str, words: str, tmp_path: Path) -> None:
    """Gaps, keys twice, what is no JSON, no object, or of two types."""
    assert words in told(samples, put(tmp_path, content, ".jsonl"))
