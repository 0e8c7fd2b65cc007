"""Runs simulations in processes that can be killed: `python launcher.py`, one request per line.

A request is JSON: {"scenario", "cache", "folder"}. The answer is the number of the process, forked
from this one, in which torch is loaded already and nothing has been computed. Killed processes are
collected. At the end of its input it ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import pyarrow.parquet  # noqa: F401 (loaded before the children are made, like the next)
import torch

import sflsim
import sflsim.experiment.simulate
from sflsim.scenario import parse_scenario


def simulate(scenario: str, cache: str, folder: str) -> None:
    torch.set_num_threads(1)
    run = sflsim.simulate(parse_scenario(scenario), cache=cache)
    run.save(folder, plots=False)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        number = os.fork()
        if number == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = 1
            try:
                simulate(**json.loads(line))
                code = 0
            finally:
                os._exit(code)
        print(number, flush=True)


if __name__ == "__main__":
    main()
