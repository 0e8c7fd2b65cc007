"""Bandwidth over time from a packet-delivery trace of Mahimahi (`kind: mahimahi`).

Each line of such a file is a time in whole milliseconds at which a link can deliver 1,500 bytes; a time
may be repeated, and after the last one the trace starts again (mm-link(1)). A rate of the clock is even
over each `step`: bytes that could be delivered in it, over its length. So the bytes of every step are
exact, and no message arrives earlier or later by more than a step.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from sflsim.fields import FACTOR, Quantity
from sflsim.fleet import files
from sflsim.fleet.profiles import Profile
from sflsim.fleet.traces import Traceable, TraceBase, TraceConfig
from sflsim.mistakes import mistake, mistake_at

PACKET_BYTES = 1500.0
"""What one line stands for."""
STEP = Quantity("s", "100 ms", least=1e-3, why="the times of such a file are in whole milliseconds")
MILLISECONDS = re.compile(r"[0-9]{1,15}", re.ASCII)


class MahimahiTrace(TraceBase):
    """A bandwidth from a packet-delivery trace of Mahimahi: a time in ms for each 1,500 bytes. It repeats."""

    needed: ClassVar[str] = "a packet-delivery trace of Mahimahi"
    kind: Literal["mahimahi"] = "mahimahi"
    file: str
    step: Annotated[float, STEP] = Field(
        default="100 ms", validate_default=True, description="what the rate is averaged over, in whole ms"
    )
    scale: Annotated[float, FACTOR] = Field(default=1.0, description="factor on the rate")

    @field_validator("step", mode="after")
    @classmethod
    def _whole(cls, step_s: float) -> float:
        if abs(step_s * 1e3 - round(step_s * 1e3)) > 1e-6:
            raise mistake("is no whole number of ms", repr(STEP.shown(step_s)), "e.g. '1 ms' or '100 ms'")
        return step_s

    def model_post_init(self, context: Any, /) -> None:
        """Read the file.

        Raises:
            ValidationError: the file is no such trace.
        """
        times_ms = _times_ms(files.lines(self.file), Path(self.file).name)
        self._traces = {"": _profile(times_ms, round(self.step * 1e3), self.scale)}


def _times_ms(lines: list[str], name: str) -> npt.NDArray[np.int64]:
    """Return the time of each line, in ms, shape (lines,)."""
    allowed, before = "a whole number of milliseconds in each line", 0
    for number, line in enumerate(lines, start=1):
        if not MILLISECONDS.fullmatch(line):
            found = f"{line[:40]!r} in line {number} of {name}"
            remedy = "a table of rates over time is 'kind: trace'"
            if not line.strip():
                remedy = "take blank lines out"
            elif line.strip()[0].isdigit():
                remedy = "write 1250, not 1,250 or 1.25e3"
            raise mistake_at("file", "has a line that is no time", found, allowed, remedy)
        if int(line) < before:
            found = f"{line} after {before} in line {number} of {name}"
            remedy = "sort the lines, or make two files of two traces"
            raise mistake_at("file", "has time running backwards", found, "times that never decrease", remedy)
        before = int(line)
    if not before:
        found = "0 ms in every line" if lines else "nothing"
        allowed = "a last time above zero, after which the trace repeats"
        raise mistake_at("file", "lasts no time", f"{found} in {name}", allowed)
    return np.array(lines, dtype=np.int64)


def _profile(times_ms: npt.NDArray[np.int64], step_ms: int, scale: float) -> Profile:
    """Return the rate in byte/s: constant in each step, a delivery counting in the one that ends with it."""
    period_ms = times_ms[-1]
    steps, packets = np.unique(np.maximum((times_ms - 1) // step_ms, 0), return_counts=True)
    starts_ms = steps * step_ms
    ends_ms = np.minimum(starts_ms + step_ms, period_ms)
    rates = packets * PACKET_BYTES / ((ends_ms - starts_ms) / 1e3) * scale
    times_ms = np.concatenate([[0], ends_ms, starts_ms])  # of equal times the last counts
    values = np.concatenate([[0.0], np.zeros(len(steps)), rates])
    order = np.argsort(times_ms, kind="stable")
    times_ms, values = times_ms[order], values[order]
    last_of_time = np.append(times_ms[1:] != times_ms[:-1], True) & (times_ms < period_ms)
    times_ms, values = times_ms[last_of_time], values[last_of_time]
    changes = np.append(True, values[1:] != values[:-1])
    times_s, values = times_ms[changes] / 1e3, values[changes]
    return Profile(times_s, values, float(period_ms) / 1e3 if len(times_s) > 1 else None)


class LinkRate(Traceable):
    """Annotation of a bandwidth: a quantity, a distribution or any kind of trace."""

    traces: ClassVar[tuple[type[TraceBase], ...]] = (TraceConfig, MahimahiTrace)
