"""A user's own catalog as data: entries in the format of the built-in one, a section per table.

Whether the figures make a device or a link is checked when the file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from sflsim.fleet import catalog
from sflsim.fleet.catalog import Entry, Figure, Fitted, Status, Table


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CatalogFigure(_Part):
    """One figure of an entry, and where it comes from."""

    value: Any = Field(description="as in a scenario, e.g. '16 GFLOP/s', or a distribution")
    status: Status
    source: Annotated[
        str, Field(min_length=1, description="who measured it and how, or what it follows from")
    ]


class CatalogEntry(_Part):
    """A device or link; a figure's key is that of a scenario, dotted below another, as in `power.idle`."""

    about: str = ""
    replaces: bool = Field(default=False, description="replaces the built-in entry of that name")
    fitted: Fitted | None = Field(default=None, description="what its computing rates rest on")
    figures: dict[str, CatalogFigure]

    def entry(self, name: str) -> Entry:
        """Return this as an entry of the catalog."""
        items = self.figures.items()
        figures = (Figure(key, figure.value, figure.status, figure.source) for key, figure in items)
        return Entry(name, self.about, tuple(figures), self.fitted)


@dataclass(frozen=True)
class Origin:
    """What a catalog was read from: files or entries as given, paths relative to `folder`. All are equal."""

    given: Any = field(default=None, compare=False)
    folder: Path = field(default=Path(), compare=False)


class CatalogConfig(_Part):
    """A user's devices and links, by name."""

    devices: dict[str, CatalogEntry] = {}
    links: dict[str, CatalogEntry] = {}
    _origin: Origin = PrivateAttr(default_factory=Origin)

    @property
    def origin(self) -> Origin:
        """What this was read from; `given` is None if it was not read from files."""
        return self._origin

    def read_from(self, origin: Origin) -> CatalogConfig:
        """Return this catalog as read from `origin`."""
        copy = self.model_copy()
        copy._origin = origin
        return copy

    def table(self, table: Table) -> Mapping[str, CatalogEntry]:
        """Return the section of a table."""
        return self.devices if table == "devices" else self.links

    def own(self) -> catalog.Own:
        """Return the entries that are added to the built-in ones."""
        return {
            "devices": {name: entry.entry(name) for name, entry in self.devices.items()},
            "links": {name: entry.entry(name) for name, entry in self.links.items()},
        }
