"""Quantities as users write them ("10 Mbit/s", "35 ms") and as the code holds them (floats in base units).

`measure` is the one reader of such text: for any text it gives a value or raises `NoQuantity`, nothing
else. The one home of pint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sflsim.unit_spellings import spelled_right, usual

if TYPE_CHECKING:
    import pint

MAX_LENGTH = 64
NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
NAME = re.compile(r"%|[A-Za-zµμ°]+(?: *[/*] *[A-Za-zµμ°]+)*")
GROUPED = re.compile(r"[-+]?[0-9]+(?:[.,'_]|\s(?=[0-9]{3}(?![0-9])))[0-9]+(?:[.,'_\s][0-9]+)*")
COUNTED = {"bit", "byte", "FLOP", "hertz"}
"""What comes in whole ones (a frequency counts periods): a thousandth of it is a slip of the pen."""
POWER_LEVELS = {"dBm": 30.0, "dBW": 0.0}
"""Logarithmic units of power, and which level in each is one watt."""
ADD_THE_UNIT = "write the unit behind the number"
RANGES = {
    "s": (1e-30, 1e12, "the clock is a 64-bit float, whose steps there are of 0.1 ms"),
    "byte": (1e-30, 1e16, "packets are counted in 64-bit whole numbers"),
    "km": (1e-9, 1e9, "a path loss grows with its logarithm"),
    "dB": (1e-30, 300.0, "a ratio of 1e30 is the largest that is counted with"),
}
"""By base unit, the least amount where zero is none, the largest, and why none larger is held."""
OTHERS = (1e-30, 1e30, "products of amounts would leave the range of 64-bit floats")
BASE_UNITS = ("s", "byte", "byte/s", "FLOP/s", "FLOP", "W", "J", "Hz", "W/Hz", "km", "dB")
"""The units that values are held in."""


class NoQuantity(ValueError):
    """Text is no quantity of the kind wanted: the reason, which follows on "found ..., which"; a remedy."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


class Scale(NamedTuple):
    """How a number in some unit becomes one in a base unit: times `factor`, or by its level in dB."""

    unit: str
    factor: float
    level_of_one: float | None = None

    def value(self, number: float) -> float:
        """Return `number` in the base unit."""
        if self.level_of_one is not None:
            return self.factor * 10 ** ((number - self.level_of_one) / 10)
        # divided by a whole number where that is the same, as it is exact
        divisor = round(1 / self.factor) if self.factor < 1 else 0
        exact = divisor and abs(divisor * self.factor - 1) < 1e-12
        return number / divisor if exact else number * self.factor


@cache
def registry() -> pint.UnitRegistry[float]:
    """Return the unit registry: pint's own, with FLOP."""
    import pint

    units: pint.UnitRegistry[float] = pint.UnitRegistry(cache_folder=None)
    units.define("FLOP = [computation] = FLOPs")
    return units


def parse(text: str, unit: str) -> float:
    """Return the quantity `text` ("10 Mbit/s") as a float in `unit` ("byte/s").

    Raises:
        NoQuantity: no quantity, another dimension, or not finite.
    """
    return measure(text, (unit,))[0]


def measure(text: str, units: Sequence[str]) -> tuple[float, str]:
    """Return the quantity `text` as a float and the one of the base `units` that this float is in.

    Raises:
        NoQuantity: no quantity, of none of these dimensions, or not finite.
    """
    number, name = split(text)
    if not name:
        raise NoQuantity("has no unit", ADD_THE_UNIT)
    scale = _scale(name, tuple(units))
    try:
        value = scale.value(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise NoQuantity("is not finite")
    if not value and number and scale.level_of_one is None:
        raise NoQuantity("is too small to be held")
    return value, scale.unit


def refuse_beyond(value: float, unit: str, positive: bool) -> None:
    """Refuse an amount, in a base unit or bare, that is too large to count with or, if it is to be
    `positive`, too close to zero.

    Raises:
        NoQuantity: it is, with the reason.
    """
    least, most, why = RANGES.get(unit, OTHERS)
    if not math.isfinite(value):
        raise NoQuantity("is not finite")
    if abs(value) > most:
        raise NoQuantity(f"is more than {most:g} {unit}".strip(), why)
    if positive and 0 < value < least:
        raise NoQuantity(f"is less than {least:g} {unit}".strip(), OTHERS[2])


def split(text: str) -> tuple[float, str]:
    """Return number and unit of "1.5e3 Mbit/s"; the unit is empty where there is none.

    Raises:
        NoQuantity: it is no number, or no number with a unit.
    """
    text = text.strip()
    found = NUMBER.match(text) if len(text) <= MAX_LENGTH else None
    name = re.sub(r"\s+", " ", text[found.end() :].strip()).replace(" per ", "/") if found else ""
    if found is None or (name and not NAME.fullmatch(name)):
        raise NoQuantity("is no number with a unit", _without_separators(text))
    number = float(found[0]) + 0.0  # -0 is 0
    if not math.isfinite(number):
        raise NoQuantity("is not finite")
    if not number and re.match(r"[-+.0]*[1-9]", found[0]):
        raise NoQuantity("is too small to be held")
    return number, name.replace(" ", "")


def bare(text: str) -> float:
    """Return the number that `text` is.

    Raises:
        NoQuantity: it is none, or has a unit.
    """
    number, name = split(text)
    if name:
        right = number / 100 if name == "%" else number
        raise NoQuantity("has a unit, where a number stands alone", f"write '{right:g}'")
    return number


def _without_separators(text: str) -> str:
    """Return how to write a number with a decimal comma or groups of digits: "write '12.5 s'"."""
    found = GROUPED.match(text) if len(text) <= MAX_LENGTH else None
    if found is None:
        return ""
    marks, (*whole, last) = re.findall(r"[^-+0-9]", found[0]), re.split(r"[^-+0-9]", found[0])
    grouped, decimal = "".join([*whole, last]), f"{''.join(whole)}.{last}"
    if len(set(marks)) > 1:
        ways = [decimal]
    elif marks == [","]:
        ways = [decimal] if len(last) != 3 else [grouped, decimal]
    else:
        ways = [grouped]
    rest = text[found.end() :]
    return f"write {' or '.join(repr(way + rest) for way in ways)}" if marks != ["."] else ""


@lru_cache(maxsize=4096)
def _scale(name: str, units: tuple[str, ...]) -> Scale:
    """Return how a number in the unit `name` becomes one in the first base unit of its dimension.

    Raises:
        NoQuantity: it is no unit, or one that no field takes.
    """
    rate = re.fullmatch(r"([KMGTP]i|[kMGTPE])?(b|B|FLOP)(?:ps|S)", name)
    if rate and name.endswith("S") == (rate[2] == "FLOP"):  # Mbps, GFLOPS: rates by their very name
        name = f"{rate[1] or ''}{ {'b': 'bit', 'B': 'byte'}.get(rate[2], rate[2]) }/s"
    if name in units:
        return Scale(name, 1.0)
    level, slash, below = name.partition("/")
    powers = tuple(unit for unit in units if unit.startswith("W"))
    if level in POWER_LEVELS and powers:
        return _scale(f"W{slash}{below}", powers)._replace(level_of_one=POWER_LEVELS[level])
    known = next((Scale(unit, usual(unit)[name]) for unit in units if name in usual(unit)), None)
    return known or _looked_up(name, units)


def _looked_up(name: str, units: tuple[str, ...]) -> Scale:
    """Return what `_scale` does of a unit that pint knows."""
    import pint

    remedy = spelled_right(name, units)
    try:
        root = _root(name)
        for unit in units:
            if unit != "dB" and registry().get_root_units(unit)[1] == root:  # no number is "in" dB
                _refuse_parts(name)
                return Scale(unit, float(registry().Quantity(1.0, name).to(unit).magnitude))
    except NoQuantity as error:
        spelled = " or ".join(unit for unit in units if unit)
        raise NoQuantity(str(error), remedy or f"write it in {spelled}") from None
    except pint.UndefinedUnitError as error:
        names = error.unit_names
        unknown = names if isinstance(names, str) else next(iter(names), name)
        raise NoQuantity(f"has an unknown unit {unknown!r}", remedy) from None
    except Exception:  # whatever pint and Python's parser below it make of such a name
        raise NoQuantity("is no number with a unit", remedy) from None
    raise NoQuantity("is in another unit of measure", remedy)


def _root(name: str) -> Any:
    """Return a unit in root units; to pint a bit is a mere number, so that a Hz would be a bit/s.

    Raises:
        NoQuantity: it is not proportional to them, as dB and degC are not.
    """
    units = registry()
    parts = re.split(r"[/*]", name)
    linear = [units.Quantity(2.0, part).to_root_units().magnitude for part in parts]
    single = [units.Quantity(1.0, part).to_root_units().magnitude for part in parts]
    for part, one, two in zip(parts, single, linear, strict=True):
        if abs(two - 2 * one) > 1e-9 * abs(one):
            raise NoQuantity(f"has the unit {part!r}, which is not proportional to an amount")
    return units.get_root_units(name)[1]


def _refuse_parts(name: str) -> None:
    """Refuse milli and smaller prefixes of what is counted: a "mbit" is nothing, an "Mbit" was meant."""
    units = registry()
    for part in re.split(r"[/*]", name):
        for prefix, whole, _ in units.parse_unit_name(part):
            roots = (one for one, _ in units.Quantity(1.0, whole).to_root_units().unit_items())
            counted = whole in COUNTED or any(one in COUNTED for one in roots)
            if prefix and counted and units.Quantity(1.0, part).to(whole).magnitude < 1:
                kind = "bit/s" if whole == "baud" else whole
                raise NoQuantity(f"has the unit {part!r}, a part of a {kind}")
