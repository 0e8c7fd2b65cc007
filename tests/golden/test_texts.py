"""What the commands print, pinned: one text per kind of report, and the only place where sentences are.

Other tests assert facts, on data. A change that rewords a report renews its text with

    python tests/golden/test_texts.py

and its reader sees the difference. Everything here is computed on the clock alone, from exact costs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for the command above

from support import data  # noqa: E402

from sflsim.cli import app  # noqa: E402

VARIANTS = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed", "tau": [1, "adaptive"]}]
LINKS = {"near": "1 kB/s", "far": "1 byte/s"}
FLEET = {
    "clients": 4,
    "groups": [
        {"name": name, "count": 2, "device": {"compute": "8 FLOP/s", "memory": "1 kB"},
         "link": {"up": up, "down": "1 kB/s", "latency": "0.25 s"}}
        for name, up in LINKS.items()
    ],
}  # fmt: skip
SERVER = {"compute": "4 FLOP/s", "memory": "100 byte"}
PRICES = {"tflops_hour": 1e12, "device": 1.0, "gigabyte_up": 1e6, "currency": "EUR"}
PLAN = {
    "decisions": {"server.slots": [1, 2], "server.compute": ["4 FLOP/s", "40 FLOP/s"]},
    "objectives": ["time", "cost"],
    "prices": PRICES,
}
TEXTS: dict[str, tuple[dict[str, Any], str]] = {
    "summary": ({"seeds": [0, 1]}, "run {file} --timing-only --workers 1 --out {out}"),
    "explain": ({}, "run {file} --timing-only --workers 1 --out {out}\nexplain {out}"),
    "explain_all": ({}, "run {file} --timing-only --workers 1 --out {out}\nexplain {out} --all"),
    "memory": ({"server": SERVER}, "memory {file}"),
    "sweep": ({"sweep": {"server.slots": [1, 2]}}, "sweep {file} --timing-only --workers 1 --out {out}"),
    "plan": ({"plan": PLAN}, "plan {file} --no-cache --out {out}"),
    "plan_infeasible": (
        {"plan": {**PLAN, "constraints": {"deadline": "1 s", "server_memory": "1 kB"}}},
        "plan {file} --no-cache --out {out}",
    ),
    "plan_seeds": (
        {
            "seeds": [0, 1, 2],
            "fleet": {**FLEET, "straggler": {"kind": "exponential", "mean": "100 s"}},
            "plan": {
                **PLAN,
                "constraints": {"deadline": "1 h", "groups": {"far": {"bytes_per_client": "1 kB"}}},
            },
        },
        "plan {file} --no-cache --out {out}",
    ),
    "validate": ({}, "validate {file}"),
}
"""Of each text what its scenario has in place of its own, and the commands; the last one is shown."""


@contextmanager
def in_an_empty_folder() -> Iterator[None]:
    """Paths in what is printed are relative to a folder of the moment."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def text_of(name: str) -> str:
    """Return what the last of the commands prints, to a pipe of a hundred columns."""
    changes, commands = TEXTS[name]
    content = data(**{"variants": VARIANTS, "fleet": FLEET, "stop": {"rounds": 3}, **changes})
    with in_an_empty_folder():
        Path("scenario.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        for command in commands.splitlines():
            words = command.format(file="scenario.yaml", out="out").split()
            done = CliRunner().invoke(app, words, env={"COLUMNS": "100"})
            assert done.exit_code == 0, done.output
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_pinned(name: str) -> None:
    pinned = (HERE / "texts" / f"{name}.txt").read_text(encoding="utf-8")
    assert text_of(name) == pinned, "reworded? python tests/golden/test_texts.py"


if __name__ == "__main__":
    for each in TEXTS:
        (HERE / "texts" / f"{each}.txt").write_text(text_of(each), encoding="utf-8")
