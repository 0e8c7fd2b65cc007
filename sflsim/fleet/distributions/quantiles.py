"""A distribution given by its quantiles (`kind: quantiles`), as reports of field measurements give them.

The quantile function is piecewise linear between the quantiles given. The share below the lowest one
draws its amount, and the share above the highest one that of the highest; p0 and p100 are the ends.
"""

# ruff: noqa: D102 -- DistributionConfig documents mean, variance and sample for all kinds
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from sflsim.fleet.distributions.amounts import Amount
from sflsim.fleet.distributions.base import DistributionConfig, Draws
from sflsim.fleet.distributions.unbounded import ZeroOrMore
from sflsim.mistakes import mistake_at

PERCENT = r"p(0|[1-9][0-9]?|100)"
USUAL = ("p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99")
"""The quantiles that most reports give, for messages and the reference; others are read as well."""


def _as_patterns(schema: dict[str, Any]) -> None:
    """Say in a JSON Schema which keys there are, the usual ones by name."""
    amount = schema["additionalProperties"]
    kind, *others = schema["properties"].items()
    schema["properties"] = dict([kind, *((key, amount) for key in USUAL), *others])
    schema["patternProperties"] = {f"^{PERCENT}$": amount}
    schema["additionalProperties"] = False


class Quantiles(DistributionConfig):
    """Amounts at two or more percents from p0 to p100, e.g. p5, p50 and p95; linear between them.

    The share below the lowest one has its amount, the share above the highest one that of the highest.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra=_as_patterns)
    __pydantic_extra__: dict[str, ZeroOrMore]

    kind: Literal["quantiles"] = "quantiles"

    @model_validator(mode="before")
    @classmethod
    def _only_percents(cls, value: Any) -> Any:
        """Refuse any other key, as the kinds with fixed keys do."""
        unknown = set(value) - set(cls.model_fields) if isinstance(value, Mapping) else ()
        wrong = [key for key in unknown if not re.fullmatch(PERCENT, str(key))]
        if wrong:
            found: list[InitErrorDetails] = [
                {"type": "extra_forbidden", "loc": (key,), "input": value[key]} for key in sorted(wrong)
            ]
            raise ValidationError.from_exception_data(cls.__name__, found)
        return value

    def model_post_init(self, context: Any, /) -> None:
        given = self.amounts()
        if len(given) < 2:
            allowed = "two or more, e.g. p5, p50 and p95"
            remedy = "one amount alone is 'constant'"
            raise mistake_at("kind", "has too few quantiles", ", ".join(given) or "none", allowed, remedy)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        """Refuse quantiles that decrease; they are in one unit here."""
        for (below, least), (key, amount) in pairwise(self.amounts().items()):
            if amount < least:
                allowed = f"at least {below}, which is {least.found}"
                remedy = "p1 is the least amount, also of a time; turn a table round whose p1 is the worst"
                raise mistake_at(key, f"is below {below}", amount.found, allowed, remedy)
        return self

    def amounts(self) -> dict[str, Amount]:
        """Return the quantiles by key, from the lowest percent up."""
        given: dict[str, Any] = self.__pydantic_extra__ or {}
        return dict(sorted(given.items(), key=lambda item: int(item[0][1:])))

    @property
    def shares(self) -> list[float]:
        """The share of draws up to each quantile, ascending."""
        return [int(key[1:]) / 100 for key in self.amounts()]

    @cached_property  # a draw takes less time than to look up a private attribute of pydantic's
    def quantile(self) -> Callable[..., Any]:
        """The quantile function: the amount at each share."""
        return partial(np.interp, xp=np.array(self.shares), fp=np.array([*self.amounts().values()], float))

    @property
    def can_be_zero(self) -> bool:
        """Whether the lowest quantile is zero and holds for a share of the draws."""
        least, following, *_ = self.amounts().values()
        return not least and (self.shares[0] > 0 or not following)

    @property
    def mean(self) -> float:
        return self._moment(lambda low, high: (low + high) / 2)

    @property
    def variance(self) -> float:
        mean = self.mean

        def between(low: float, high: float) -> float:
            low, high = low - mean, high - mean
            return (low * low + low * high + high * high) / 3

        return self._moment(between)

    def _moment(self, between: Callable[[float, float], float]) -> float:
        """Return the sum over all pieces of their share times `between` of their least and largest amount."""
        amounts = [*self.amounts().values()]
        pieces = zip(
            pairwise([0.0, *self.shares, 1.0]), pairwise([amounts[0], *amounts, amounts[-1]]), strict=True
        )
        return float(sum((end - start) * between(low, high) for (start, end), (low, high) in pieces))

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        draws: Draws = self.quantile(rng.random(n))
        return draws
