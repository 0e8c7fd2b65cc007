"""Measured seconds of a network's blocks on a device (`device.profile`), used where they fit.

The file is a table (CSV) with the columns block, batch, forward and backward, and maybe zeroth_order (as
forward by default), threads and flop; others are left alone. `block` is the name of a block, or those of the
first and the last of several that were measured as one: "conv-1..dense". `backward` includes the step of the
parameters. `sflsim calibrate` writes it, and measurements published in that form can be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import pairwise
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator

from sflsim.errors import did_you_mean
from sflsim.fields import Held
from sflsim.fleet import files
from sflsim.fleet.distributions.empirical import measured
from sflsim.fleet.files import Cell
from sflsim.fleet.rates import Rates
from sflsim.mistakes import mistake_at
from sflsim.work import Pass, Way, WorkByKind

COLUMNS: dict[str, Way] = {
    "forward": "forward", "backward": "backward", "zeroth_order": "zeroth-order",
}  # fmt: skip
NEEDED = ("block", "batch", "forward", "backward")
OPTIONAL = ("zeroth_order", "threads", "flop")
TO = ".."
"""Between the first and the last of several blocks."""
SAME = 1e-3
"""Relative difference of the FLOP for a sample, up to which two blocks of one name are the same."""


class Row(NamedTuple):
    """What was measured of one block, or of several as one, with one batch size."""

    seconds: Mapping[Way, float]
    flop: float | None
    """Of a forward pass, if known."""


Rows = dict[str, dict[int, Row]]
"""By block, or "<first>..<last>", and by batch size."""


@dataclass(frozen=True)
class BlockProfile:
    """What was measured with one number of threads."""

    rows: Rows
    _known: dict[Pass, float | str] = field(default_factory=dict, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash(tuple(self.rows))

    def find(self, one: Pass) -> float | str:
        """Return the seconds of a pass as measured, between two batch sizes linear; or why there are none."""
        if one not in self._known:
            self._known[one] = self._found(one)
        return self._known[one]

    def sizes(self, one: Pass) -> tuple[int, int] | None:
        """Return the smallest and the largest batch that the blocks of a pass were measured with, if any."""
        measured = self._of_blocks(one)
        return None if isinstance(measured, str) else (min(measured), max(measured))

    def _found(self, one: Pass) -> float | str:
        measured = self._of_blocks(one)
        if isinstance(measured, str):
            return measured
        sizes = sorted(measured)
        return _between(sizes, [measured[size].seconds[one.way] for size in sizes], one.batch_size)

    def _of_blocks(self, one: Pass) -> dict[int, Row] | str:
        """Return what was measured of the blocks of a pass, by batch size; or why that is nothing."""
        lacking = [name for name in one.blocks if name not in self.rows]
        measured = self.rows.get(TO.join((one.blocks[0], one.blocks[-1])), {})
        if not lacking:
            measured = _together([self.rows[name] for name in one.blocks]) | measured
        if not measured:
            what = ", ".join(map(repr, lacking)) if lacking else "one batch size of all of them"
            return f"lacks {what} of the blocks {TO.join((one.blocks[0], one.blocks[-1]))}"
        wanted = one.forward_flop / one.batch_size
        for size, row in measured.items():
            if row.flop is not None and abs(row.flop / size - wanted) > SAME * wanted:
                return f"is of another network: {row.flop / size:.4g} FLOP a sample, not {wanted:.4g}"
        return measured


def _together(blocks: Sequence[Mapping[int, Row]]) -> dict[int, Row]:
    """Return the sums over blocks, for each batch size that all of them were measured with."""
    sums = {}
    for size in set.intersection(*map(set, blocks)):
        rows = [block[size] for block in blocks]
        known = [row.flop for row in rows if row.flop is not None]
        flop = sum(known) if len(known) == len(rows) else None
        sums[size] = Row({way: sum(row.seconds[way] for row in rows) for way in COLUMNS.values()}, flop)
    return sums


def _between(sizes: Sequence[int], seconds: Sequence[float], size: int) -> float | str:
    """Return the seconds of a batch size, linear between those of two that were measured."""
    if size in sizes:
        return seconds[sizes.index(size)]
    for (low, high), (less, more) in zip(pairwise(sizes), pairwise(seconds), strict=True):
        if low < size < high:
            return less + (more - less) * (size - low) / (high - low)
    there = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]} alone"
    return f"has batches of {there}, none of {size}"


@dataclass(frozen=True, slots=True)
class Profiled:
    """Rates of a device with a profile: `work / rates` is as measured where its passes were, else by rate."""

    profile: BlockProfile
    """Measured at speed 1."""
    rates: float | Rates
    """At this device's speed."""
    speed: float

    def __mul__(self, factor: float) -> Profiled:
        return Profiled(self.profile, self.rates * factor, self.speed * factor)

    def __rtruediv__(self, work: float) -> float:
        """Return the time of work in s."""
        if not isinstance(work, WorkByKind) or not work.passes:
            return work / self.rates
        return sum(count * self._seconds(one) for one, count in work.passes)

    def sizes(self, work: float) -> tuple[int, int] | None:
        """Return the smallest and the largest batch that all of this work was measured with, if any."""
        passes = work.passes if isinstance(work, WorkByKind) else ()
        found = [self.profile.sizes(one) for one, _ in passes]
        known = [sizes for sizes in found if sizes is not None]
        if not known or len(known) < len(found):
            return None
        return max(low for low, _ in known), min(high for _, high in known)

    def _seconds(self, one: Pass) -> float:
        found = self.profile.find(one)
        return WorkByKind(one.kinds) / self.rates if isinstance(found, str) else found / self.speed


Rate = float | Rates | Profiled
"""What work is divided by: one rate in FLOP/s, rates by kind, or what was measured."""


class ProfileConfig(BaseModel):
    """Seconds of a network's blocks as measured on this kind of device, from a CSV `file`.

    Used where blocks (by name and FLOP) and batch size were measured, between two batch sizes linear;
    elsewhere the device's rates hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    file: str
    threads: Held | None = Field(default=None, description="where the file has several numbers of them")
    values_in: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="unit of bare numbers, e.g. 'ms'"
    )
    _measured: BlockProfile = PrivateAttr()

    @field_validator("file", mode="after")
    @classmethod
    def _found(cls, file: str, info: ValidationInfo) -> str:
        return files.absolute_path(file, info)

    def model_post_init(self, context: object, /) -> None:
        """Read the file.

        Raises:
            ValidationError: it is no profile.
        """
        table = files.table(self.file)
        _check_names(table.names)
        columns = dict(zip(table.names, zip(*table.filled(), strict=True), strict=True))
        self._measured = BlockProfile(_rows(columns, self._chosen(columns), self.values_in))

    @property
    def measured(self) -> BlockProfile:
        """What was measured."""
        return self._measured

    def content(self) -> bytes:
        """Return bytes that differ for files of different content."""
        return repr(self._measured.rows).encode()

    def _chosen(self, columns: Mapping[str, Sequence[Cell]]) -> list[int]:
        """Return the numbers of the rows with the wanted number of threads."""
        cells = columns.get("threads", ())
        numbers = sorted({_count(cell, "threads") for cell in cells})
        if not numbers and self.threads is None:
            return list(range(len(columns["block"])))
        if self.threads not in (*numbers, *([None] if len(numbers) == 1 else [])):
            allowed = (
                f"one of {', '.join(map(str, numbers))}" if numbers else "a file with a column 'threads'"
            )
            reason = "is missing" if self.threads is None else "is none of the file's"
            raise mistake_at("threads", reason, self.threads or "nothing", allowed)
        wanted = self.threads or numbers[0]
        return [place for place, cell in enumerate(cells) if _count(cell, "threads") == wanted]


def _check_names(names: Sequence[str]) -> None:
    """Refuse a table without a needed column, or with one that looks like an optional one misspelt."""
    lacking = [name for name in NEEDED if name not in names]
    others = [name for name in names if name not in (*NEEDED, *OPTIONAL)]
    if lacking:
        allowed = f"a header with {', '.join(NEEDED)} and maybe {', '.join(OPTIONAL)}"
        found, remedy = ", ".join(map(repr, names)), did_you_mean(lacking[0], others)
        raise mistake_at("file", f"has no column {lacking[0]}", found, allowed, remedy)
    for name in OPTIONAL:
        if name not in names and (near := get_close_matches(name, others, n=1, cutoff=0.8)):
            allowed = f"{name!r}, or a name that cannot be taken for it"
            raise mistake_at("file", "has an unclear column", repr(near[0]), allowed)


def _rows(columns: Mapping[str, Sequence[Cell]], chosen: Sequence[int], values_in: str | None) -> Rows:
    rows: Rows = {}
    seconds = {
        way: _seconds(columns.get(name, columns["forward"]), values_in) for name, way in COLUMNS.items()
    }
    for place in chosen:
        block, size = _filled(columns["block"][place], "block").text, _count(columns["batch"][place], "batch")
        if size in rows.setdefault(block, {}):
            found = f"block {block} with batch {size} again {columns['block'][place].place}"
            remedy = "take the median of repetitions; several numbers of threads stand in a column 'threads'"
            raise mistake_at("file", "has a row twice", found, "each block and batch once", remedy)
        flop = _flop(columns["flop"][place]) if "flop" in columns else None
        rows[block][size] = Row({way: of_way[place] for way, of_way in seconds.items()}, flop)
    return rows


def _seconds(cells: Sequence[Cell], values_in: str | None) -> list[float]:
    """Return a column of times in s."""
    read = measured([_filled(cell, "seconds") for cell in cells], values_in)
    if read.unit != "s":
        allowed = "times such as '12 ms', or 'values_in' with the unit of bare numbers"
        raise mistake_at("file", "is in another unit of measure", str(cells[0]), allowed)
    return [float(value) for value in read.values]


def _count(cell: Cell, column: str) -> int:
    if not (cell.text.isascii() and cell.text.isdigit() and int(cell.text) > 0):
        raise mistake_at("file", f"has no {column}", str(cell), "a whole number from 1 on in every row")
    return int(cell.text)


def _flop(cell: Cell) -> float:
    if not cell.number >= 0:
        allowed = "a bare number, zero or more, in every row: FLOP of the forward pass of the batch"
        raise mistake_at("file", "has no FLOP", str(cell), allowed)
    return cell.number


def _filled(cell: Cell, column: str) -> Cell:
    if not cell.text:
        found, remedy = f"no {column} {cell.place}", "leave the row out, if it was not measured"
        raise mistake_at("file", "has a gap", found, "a value in every row", remedy)
    return cell
