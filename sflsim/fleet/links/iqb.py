"""Links of a country or network as M-Lab's Internet Quality Barometer has them (`kind: iqb`, m-lab/iqb).

Its JSON holds percentiles of what users have measured. In it p1 is always the worst: the lowest
throughput and the highest latency. Read, they are an ordinary link whose rates and latency are
`quantiles`, so a scenario that is written back needs the file no more.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from sflsim.fleet import files
from sflsim.fleet.distributions.quantiles import PERCENT
from sflsim.fleet.links.links import LinkConfig
from sflsim.mistakes import mistake_at

METRICS: dict[str, tuple[str, str, float]] = {
    "upload_throughput_mbps": ("up", "Mbit/s", 1.0),
    "download_throughput_mbps": ("down", "Mbit/s", 1.0),
    "latency_ms": ("latency", "ms", 0.5),
}
"""By metric, the key of a link, its unit, and a factor: the latency is that of a round trip."""
LARGEST, LEAST_MBPS = 1e12, 1e-9
FORM = f"the JSON form of m-lab/iqb: {{metrics: {{{', '.join(METRICS)}}}}}, each with p1 ... p99"


class IqbConfig(BaseModel):
    """A link whose `up`, `down` and `latency` are drawn once per client from the percentiles of a `file`.

    The file is JSON in the form of m-lab/iqb. Any key of a link may stand beside it, in place of the file's.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: Literal["iqb"] = "iqb"
    file: str

    @field_validator("file", mode="after")
    @classmethod
    def _found(cls, file: str, info: ValidationInfo) -> str:
        return files.absolute_path(file, info, "a JSON file of m-lab/iqb")

    def link(self, context: Any = None) -> LinkConfig:
        """Return the link.

        Raises:
            ValidationError: the file is of another form, or a key beside it is wrong.
        """
        given = self.model_extra or {}
        return LinkConfig.model_validate({**_rates(self.file), **given}, context=context)


def _rates(file: str) -> dict[str, Any]:
    """Return the rates and the latency of a link, as a scenario would write them."""
    metrics, name = files.json_object(file).get("metrics"), Path(file).name
    if not isinstance(metrics, dict):
        raise mistake_at("file", "has no metrics", f"no mapping 'metrics' in {name}", FORM)
    link = {}
    for metric, (key, unit, factor) in METRICS.items():
        if not isinstance(metrics.get(metric), dict):
            raise mistake_at("file", "lacks a metric", f"no {metric!r} in {name}", FORM)
        link[key] = _quantiles(metrics[metric], f"'metrics.{metric}", name, unit, factor)
    return link


def _quantiles(percents: dict[str, Any], metric: str, file: str, unit: str, factor: float) -> dict[str, Any]:
    """Return the distribution of one metric, from its worst percent to its best; a time is turned round."""
    is_time = unit == "ms"
    for key, value in percents.items():
        place = f"{metric}.{key}' in {file}"
        if not re.fullmatch(PERCENT, key):
            raise mistake_at("file", "has an unknown percent", place, "p0, p1, ... p100")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LARGEST:
            shown = "nothing" if value is None else repr(value)
            allowed = "a number for each percent, zero or more and without separators"
            raise mistake_at("file", "is no amount", f"{shown} at {place}", allowed)
        if value < LEAST_MBPS and not is_time:
            remedy = "leave this percent out of the file, or take a larger region"
            raise mistake_at("file", "is no rate", f"{value} at {place}", "a rate above zero", remedy)
    if len(percents) < 2:
        raise mistake_at("file", "has too few percents", f"{len(percents)} at {metric}' in {file}", FORM)
    worst_first = sorted(percents, key=lambda key: int(key[1:]))
    for worse, better in pairwise(worst_first):
        if (percents[worse] < percents[better]) if is_time else (percents[worse] > percents[better]):
            found = f"{worse} {percents[worse]!r}, {better} {percents[better]!r} at {metric}' in {file}"
            allowed = (
                f"p1 as the worst, the {'highest latency' if is_time else 'lowest rate'}, p99 as the best"
            )
            raise mistake_at("file", "is out of order", found, allowed)
    ascending = {f"p{100 - int(key[1:])}" if is_time else key: percents[key] for key in worst_first}
    return {"kind": "quantiles", **{key: f"{value * factor!r} {unit}" for key, value in ascending.items()}}
