"""The machine it runs on as a device of a scenario: its rates on the scenario's own network, with spread.

Scenario -> `Calibration`: a table of what was measured, a profile of the blocks, and entries in the catalog's
format; one of them has rates by kind of operation, fitted to small networks, for any other network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from sflsim.diagnostics.kinds import FittedRates, fitted
from sflsim.errors import SflsimError
from sflsim.fleet.block_profile import COLUMNS, TO
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
    of_networks: tuple[Measured, ...] = ()
    """Of the small networks that the rates by kind are fitted to; empty if these were not wanted."""

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
        rows = []
        for one in self.measured:
            about: dict[str, Any] = {
                "part": one.part,
                "work": one.work,
                "threads": one.threads,
                "batch_size": one.batch_size,
            }
            low_s, high_s = one.quartiles_s
            times = {"median_s": one.median_s, "lower_s": low_s, "upper_s": high_s}
            rows.append({**about, "flop": float(one.flop), **times, "flop_per_s": one.flop_per_s})
        return pd.DataFrame(rows)

    @property
    def profile(self) -> pd.DataFrame:
        """Return what `device.profile` reads: of each part's passes median and quartiles in s.

        A zeroth-order pass is half of the step that was measured.
        """
        rows: dict[tuple[str, int, int], dict[str, Any]] = {}
        for one in self.measured:
            block = TO.join(dict.fromkeys((one.blocks[0], one.blocks[-1])))
            key = {"block": block, "batch": one.batch_size, "threads": one.threads}
            row = rows.setdefault((block, one.batch_size, one.threads), key)
            column = next(name for name, way in COLUMNS.items() if one.work.startswith(way))
            share = 0.5 if column == "zeroth_order" else 1.0
            times_s = [_rounded(share * time_s) for time_s in (one.median_s, *one.quartiles_s)]
            if column == "forward":
                row["flop"] = float(one.flop)
            row |= zip((column, f"{column}_lower", f"{column}_upper"), times_s, strict=True)
        spread = [f"{column}_{end}" for column in COLUMNS for end in ("lower", "upper")]
        return pd.DataFrame(rows.values())[["block", "batch", "threads", "flop", *COLUMNS, *spread]]

    def by_kind(self, threads: int) -> FittedRates:
        """Return the rates by kind of operation with a number of threads."""
        return fitted([one for one in self.of_networks if one.threads == threads])

    @property
    def threads(self) -> list[int]:
        """Return the numbers of threads, in the order measured."""
        return list(dict.fromkeys(one.threads for one in self.measured))

    def find(self, part: str, work: str, threads: int | None = None) -> Measured:
        """Return one measurement with the scenario's batch; by default with the first number of threads."""
        wanted = (part, work, self.threads[0] if threads is None else threads)
        return next(one for one in self.measured if (one.part, one.work, one.threads) == wanted)

    def entries(self, profile: str = "") -> dict[str, Any]:
        """Return the catalog's entries of this machine, two or three for each number of threads.

        In that of "-zeroth-order" a forward pass comes with its share of moving the parameters; that of
        "-by-kind" has rates by kind. The others name the file of the `profile`, if there is one.
        """
        entries: dict[str, Any] = {}
        for number in self.threads:
            threads = counted(number, "thread")
            name = f"{self.name}-{threads.replace(' ', '-')}" if len(self.threads) > 1 else self.name
            about = f"{processor()}, {threads}, on the network of {self.scenario}"
            for suffix, rates in (("", RATES), ("-zeroth-order", ZEROTH_ORDER)):
                figures = {key: self._figure(work, number) for key, work in rates}
                entries[name + suffix] = {"about": about, "figures": figures}
            entries |= self._by_kind(f"{name}-by-kind", number)
            if profile:
                value = {"file": profile, "threads": number, "values_in": "s"}
                source = f"sflsim calibrate, blocks of {self.scenario}; {self._machine(number)}"
                for one in {name, f"{name}-by-kind"} & entries.keys():
                    entries[one]["figures"]["profile"] = {
                        "value": value,
                        "status": "measured",
                        "source": source,
                    }
        return entries

    def _by_kind(self, name: str, threads: int) -> dict[str, Any]:
        """Return the entry with rates by kind, if they were measured."""
        if not self.of_networks:
            return {}
        return {name: self.by_kind(threads).entry(f"{processor()}, rates by kind", self._machine(threads))}

    def to_yaml(self, profile: str = "") -> str:
        """Return the entries as a file that a scenario can have as its `catalog`."""
        return write_yaml({"devices": self.entries(profile)})

    def _machine(self, threads: int) -> str:
        return f"{counted(threads, 'thread')}, torch {versions()['torch']}, {processor()}"

    def _figure(self, work: str, threads: int) -> dict[str, str]:
        """Return the rate of the client part at the scenario's cut; of the whole where that has no FLOP."""
        one = self.find(f"client {self.cut}", work, threads)
        if not one.flop:
            one = self.find("whole", work, threads)
        if not one.flop:
            raise SflsimError("calibrate: the network has no matrix product and no convolution to measure")
        low_s, high_s = one.quartiles_s
        source = (
            f"sflsim calibrate, {one.part} of {self.scenario}, {work}: median of {len(one.seconds)}, half of "
            f"them {_rate(one.flop / high_s)} to {_rate(one.flop / low_s)}; {self._machine(threads)}"
        )
        return {"value": _rate(one.flop_per_s), "status": "measured", "source": source}


def calibrate(
    scenario: Scenario,
    *,
    threads: Sequence[int] = (1,),
    batch_sizes: Sequence[int] = (),
    repeat: int = 15,
    rest_s: float = 0.05,
    clock: Literal["wall", "cpu"] = "wall",
    name: str = "this-machine",
    every_part: bool = True,
    by_kind: bool = False,
) -> Calibration:
    """Measure this machine's CPU on a scenario's network and, `by_kind`, on small networks of all kinds.

    `batch_sizes` are measured in addition to the scenario's own, for a profile. Each measurement is repeated
    `repeat` times, after a pause of `rest_s`. `clock` "cpu" counts what one thread computes, not what passes.
    Without `every_part`, only the scenario's cut and the whole.

    Raises:
        ScenarioError: the network cannot be cut where the scenario says.
        SflsimError: there is nothing to measure.
    """
    from sflsim.learning.profiling.calibration import measure
    from sflsim.learning.profiling.places import of_networks, of_workload
    from sflsim.learning.profiling.small_networks import BATCH_SIZES, NETWORKS

    _check(threads, batch_sizes, repeat, rest_s)
    _check_name(name)
    needs, workload = Session(scenario, Options(timing_only=True)).requirements, scenario.workload
    cut = needs.cut(0)
    charged_flop = needs.costs(cut).client_forward_flop
    places = [
        place
        for size in dict.fromkeys((workload.mean_batch_size, *batch_sizes))
        for place in of_workload(workload, size, None if every_part else [cut], every_part)
    ]
    places += of_networks(NETWORKS, BATCH_SIZES) if by_kind else []
    found = measure(places, threads=threads, repeat=repeat, rest_s=rest_s, clock=clock)
    apart = [one for one in found if not one.network], [one for one in found if one.network]
    return Calibration(scenario.name, name, cut, tuple(apart[0]), charged_flop, tuple(apart[1]))


def _check(threads: Sequence[int], batch_sizes: Sequence[int], repeat: int, rest_s: float) -> None:
    for what, numbers in (("threads", threads), ("batches", batch_sizes)):
        if min(numbers, default=1) < 1 or len(set(numbers)) < len(numbers):
            raise SflsimError(
                f"{what}: found {list(numbers)}; allowed: different numbers from 1 on, e.g. 1,2,4"
            )
    if not threads:
        raise SflsimError("threads: found none; allowed: different numbers from 1 on, e.g. 1,2,4")
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


def _rounded(seconds: float) -> float:
    """Return seconds to five digits: no clock tells more, and a table is read by people, too."""
    return float(f"{seconds:.5g}")
