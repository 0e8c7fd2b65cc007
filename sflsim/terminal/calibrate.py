"""What `sflsim calibrate` measured, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from sflsim.diagnostics.calibrate import Calibration
from sflsim.errors import SflsimError
from sflsim.formatting import counted
from sflsim.terminal.tables import new_table


def read_threads(text: str) -> list[int]:
    """Read numbers of threads such as "1,2,4".

    Raises:
        SflsimError: that is not what the text is.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise SflsimError(f"--threads: found {text!r}; allowed: numbers and commas, e.g. 1,2,4") from None


def new_file(path: Path) -> Path:
    """Return the place of a file that does not exist yet.

    Raises:
        SflsimError: it does, or its folder does not.
    """
    if path.exists() or not path.parent.is_dir():
        reason = "exists already" if path.exists() else "has no folder"
        raise SflsimError(f"--out {path}: {reason}; name a new file in a folder that is there")
    return path


def format_calibration(calibration: Calibration) -> Iterator[Table]:
    """Yield one table for each number of threads: median, quartiles and effective rate of every part."""
    for threads in calibration.threads:
        table = new_table(f"{calibration.scenario} with {counted(threads, 'thread')}")
        for heading in ("part", "work", "median", "quartiles", "rate"):
            table.add_column(heading, no_wrap=heading != "part")
        last = ""
        for one in calibration.measured:
            if one.threads != threads:
                continue
            low_s, high_s = one.quartiles_s
            spread = f"{1e3 * low_s:.3g} to {1e3 * high_s:.3g} ms"
            rate = f"{one.flop_per_s / 1e9:.3g} GFLOP/s" if one.flop else "-"
            part = one.part if one.part != last else ""
            table.add_row(part, one.work, f"{1e3 * one.median_s:.3g} ms", spread, rate)
            last = one.part
        yield table


def devices(calibration: Calibration) -> Iterator[str]:
    """Yield a line for each entry that a group of a scenario can have as it is."""
    for name, entry in calibration.entries().items():
        figures = ", ".join(f"{key}: {figure['value']}" for key, figure in entry["figures"].items())
        yield f"{name}: device: {{{figures}}}"
