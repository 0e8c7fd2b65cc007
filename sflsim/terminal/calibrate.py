"""What `sflsim calibrate` measured, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from sflsim.diagnostics.calibrate import Calibration
from sflsim.errors import SflsimError
from sflsim.fleet.own_catalog import CatalogConfig
from sflsim.formatting import counted
from sflsim.terminal.tables import new_table


def read_numbers(option: str, text: str) -> list[int]:
    """Read numbers such as "1,2,4"; there may be none.

    Raises:
        SflsimError: that is not what the text is.
    """
    try:
        return [int(word) for word in text.split(",")] if text else []
    except ValueError:
        raise SflsimError(f"{option}: found {text!r}; allowed: numbers and commas, e.g. 1,2,4") from None


def new_files(path: Path) -> tuple[Path, Path]:
    """Return the places of the device entries and of the profile beside them, which do not exist yet.

    Raises:
        SflsimError: one does, or their folder does not.
    """
    profile = path.with_suffix(".csv")
    if profile == path:
        raise SflsimError(f"--out {path}: is the name of the profile; name the file of devices, e.g. pi.yaml")
    for file in (path, profile):
        if file.exists() or not file.parent.is_dir():
            reason = "exists already" if file.exists() else "has no folder"
            raise SflsimError(f"--out {file}: {reason}; name a new file in a folder that is there")
    return path, profile


def format_calibration(calibration: Calibration) -> Iterator[Table]:
    """Yield one table for each number of threads: median, quartiles and effective rate of every part.

    Of several batch sizes, that of the scenario.
    """
    batch_size = calibration.measured[0].batch_size
    for threads in calibration.threads:
        table = new_table(f"{calibration.scenario} with {counted(threads, 'thread')}")
        for heading in ("part", "work", "median", "quartiles", "rate"):
            table.add_column(heading, no_wrap=heading != "part")
        last = ""
        for one in calibration.measured:
            if (one.threads, one.batch_size) != (threads, batch_size):
                continue
            low_s, high_s = one.quartiles_s
            spread = f"{1e3 * low_s:.3g} to {1e3 * high_s:.3g} ms"
            rate = f"{one.flop_per_s / 1e9:.3g} GFLOP/s" if one.flop else "-"
            part = one.part if one.part != last else ""
            table.add_row(part, one.work, f"{1e3 * one.median_s:.3g} ms", spread, rate)
            last = one.part
        yield table


def devices(calibration: Calibration) -> Iterator[str]:
    """Yield a line for each entry that a group can have as it is; for one by kind, also its error."""
    catalog = CatalogConfig.model_validate({"devices": calibration.entries()})
    for name, entry in catalog.own()["devices"].items():
        yield f"{name}: device: {_in_line(entry.mapping())}"
        if entry.fitted is not None:
            yield f"{name}: {entry.fitted.error}"


def _in_line(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    return f"{{{', '.join(f'{key}: {_in_line(one)}' for key, one in value.items())}}}"
