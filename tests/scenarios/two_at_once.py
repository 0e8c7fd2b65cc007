"""Forks pairs of command lines that start at the same instant; one line of JSON in and out for each pair.

Forked from a process that has imported everything, a run takes a fraction of a second. A line holds the
arguments of both; the answer has both exit codes and what they said on stderr.
"""

from __future__ import annotations

import json
import os
import sys

import sflsim.diagnostics.memory
import sflsim.experiment.simulate  # what a run needs is imported before the first fork
import sflsim.terminal.progress  # noqa: F401
from sflsim.cli import main


def start(arguments: list[str], gate: int, told: str) -> int:
    """Return the id of a process that waits at the gate, then runs the command line."""
    process = os.fork()
    if process:
        return process
    code = 99
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.read(gate, 1)
        sys.argv = ["sflsim", *arguments]
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


for line in sys.stdin:
    pair = json.loads(line)
    gate, opener = os.pipe()
    files = [f"told-{number}" for number in range(len(pair))]
    processes = [start(one, gate, told) for one, told in zip(pair, files, strict=True)]
    os.close(gate)
    os.write(opener, b"." * len(pair))
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    os.close(opener)
    words = []
    for told in files:
        with open(told, encoding="utf-8") as file:
            words.append(file.read())
    print(json.dumps([codes, words]), flush=True)
