"""The machine it runs on as a device of a scenario: its rates on the scenario's own network, with spread.

Scenario -> `Calibration`: a table of what was measured, and entries in the catalog's format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from sflsim.errors import SflsimError
from sflsim.fleet.catalog import ENTRY_NAME
from sflsim.formatting import counted
from sflsim.learning.processor import processor
from sflsim.provenance import versions
from sflsim.scenario.schema import Scenario
from sflsim.scenario.yaml_lines import write_yaml
from sflsim.session import Options, Session

if TYPE_CHECKING:
    from sflsim.learning.profiling.calibration import Measured

RATES = (("compute", "backward"), ("forward", "forward"))
ZEROTH_ORDER = (("compute", "backward"), ("forward", "zeroth-order step"))
LONGEST_NAME = 32
"""Of the entries; what is appended to it has to fit in the name of a catalog's entry, too."""


@dataclass(frozen=True)
class Calibration:
    """What this machine does with a scenario's network, cut where the scenario cuts it."""

    scenario: str
    name: str
    """Of the entries; with several numbers of threads that of each is "<name>-<threads>-threads"."""
    cut: int
    measured: tuple[Measured, ...]
    charged_flop: float = 0.0
    """What the scenario charges for the forward pass of the client part."""

    @property
    def note(self) -> str:
        """Return a warning where the scenario's costs are not those of the network measured; else ""."""
        flop = self.find(f"client {self.cut}", "forward").flop
        if abs(self.charged_flop - flop) <= 0.01 * flop:
            return ""
        return (
            f"note: the scenario charges {self.charged_flop:.4g} FLOP for the client's forward pass, its "
            f"network has {flop:.4g}: the rates hold for the network, so take a scenario without 'costs'"
        )

    @property
    def table(self) -> pd.DataFrame:
        """Return a row for each part, work and number of threads; times in s, rates in FLOP/s."""
        rows = [
            (one.part, one.work, one.threads, one.flop, one.median_s, *one.quartiles_s, one.flop_per_s)
            for one in self.measured
        ]
        columns = ["part", "work", "threads", "flop", "median_s", "lower_s", "upper_s", "flop_per_s"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def threads(self) -> list[int]:
        """Return the numbers of threads, in the order measured."""
        return list(dict.fromkeys(one.threads for one in self.measured))

    def find(self, part: str, work: str, threads: int | None = None) -> Measured:
        """Return one measurement; with the first number of threads by default."""
        number = self.threads[0] if threads is None else threads
        return next(one for one in self.measured if (one.part, one.work, one.threads) == (part, work, number))

    def entries(self) -> dict[str, Any]:
        """Return the catalog's entries of this machine, two for each number of threads.

        In that of "-zeroth-order" a forward pass comes with its share of moving the parameters.
        """
        entries = {}
        for number in self.threads:
            threads = counted(number, "thread")
            name = f"{self.name}-{threads.replace(' ', '-')}" if len(self.threads) > 1 else self.name
            about = f"{processor()}, {threads}, on the network of {self.scenario}"
            for suffix, rates in (("", RATES), ("-zeroth-order", ZEROTH_ORDER)):
                figures = {key: self._figure(work, number) for key, work in rates}
                entries[name + suffix] = {"about": about, "figures": figures}
        return entries

    def to_yaml(self) -> str:
        """Return the entries as a file that a scenario can have as its `catalog`."""
        return write_yaml({"devices": self.entries()})

    def _figure(self, work: str, threads: int) -> dict[str, str]:
        """Return the rate of the client part at the scenario's cut; of the whole where that has no FLOP."""
        one = self.find(f"client {self.cut}", work, threads)
        if not one.flop:
            one = self.find("whole", work, threads)
        if not one.flop:
            raise SflsimError("calibrate: the network has no matrix product and no convolution to measure")
        low_s, high_s = one.quartiles_s
        machine = f"{counted(threads, 'thread')}, torch {versions()['torch']}, {processor()}"
        source = (
            f"sflsim calibrate, {one.part} of {self.scenario}, {work}: median of {len(one.seconds)}, "
            f"half of them {_rate(one.flop / high_s)} to {_rate(one.flop / low_s)}; {machine}"
        )
        return {"value": _rate(one.flop_per_s), "status": "measured", "source": source}


def calibrate(
    scenario: Scenario,
    *,
    threads: Sequence[int] = (1,),
    repeat: int = 15,
    rest_s: float = 0.05,
    clock: Literal["wall", "cpu"] = "wall",
    name: str = "this-machine",
    every_part: bool = True,
) -> Calibration:
    """Measure this machine's CPU on a scenario's network.

    Each measurement is repeated `repeat` times, after a pause of `rest_s`. `clock` "cpu" counts what
    one thread computes, not what passes. Without `every_part`, only the scenario's cut and the whole.

    Raises:
        ScenarioError: the network cannot be cut where the scenario says.
        SflsimError: there is nothing to measure.
    """
    from sflsim.learning.profiling.calibration import measure

    _check(threads, repeat, rest_s)
    _check_name(name)
    needs = Session(scenario, Options(timing_only=True)).requirements
    cut = needs.cut(0)
    charged_flop = needs.costs(cut).client_forward_flop
    measured = measure(
        scenario.workload,
        cuts=None if every_part else [cut],
        blocks=every_part,
        threads=threads,
        repeat=repeat,
        rest_s=rest_s,
        clock=clock,
    )
    return Calibration(scenario.name, name, cut, tuple(measured), charged_flop)


def _check(threads: Sequence[int], repeat: int, rest_s: float) -> None:
    if not threads or min(threads) < 1 or len(set(threads)) < len(threads):
        raise SflsimError(f"threads: found {list(threads)}; allowed: different numbers from 1 on, e.g. 1,2,4")
    if repeat < 3:
        raise SflsimError(f"repeat: found {repeat}; allowed: 3 or more, for a median with a spread")
    if rest_s < 0:
        raise SflsimError(f"rest: found {rest_s} s; allowed: 0 s or more")


def _check_name(name: str) -> None:
    if not re.fullmatch(ENTRY_NAME, name) or len(name) > LONGEST_NAME:
        allowed = f"letters, digits, '.', '_' and '-', at most {LONGEST_NAME}, as a scenario is to name it"
        raise SflsimError(f"name: found {name!r}; allowed: {allowed}")


def _rate(flop_per_s: float) -> str:
    """Return a rate as a scenario would write it, to three digits."""
    return f"{flop_per_s / 1e9:.3g} GFLOP/s"
