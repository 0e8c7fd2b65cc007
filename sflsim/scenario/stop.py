"""When a run stops, and how often its model is evaluated."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from sflsim.fields import PERIOD, Bytes, Count, Energy, Fraction, Period
from sflsim.mistakes import wrong_value

ROUNDS = re.compile(r"([0-9]{1,9}) *rounds?", re.ASCII)
SHORTEST_PERIOD_S = 1e-3
EVERY = "a number of rounds or a simulated time, above zero, e.g. '10 rounds' or '30 s'"


class Part(BaseModel):
    """Base of the scenario and its own parts: frozen and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stop(Part):
    """A run ends with whichever comes first; `accuracy` alone might never come.

    `bytes` and `energy` end it with the first round (or update) by whose end so much has been spent.
    """

    rounds: Count | None = Field(default=None, description="rounds of training")
    time: Annotated[Period, Field(description="simulated time, e.g. '2 h'")] | None = None
    bytes: Annotated[Bytes, Field(description="sent and received by all clients, e.g. '2 GiB'")] | None = None
    energy: Annotated[Energy, Field(description="drawn by all clients, e.g. '5 kJ'")] | None = None
    accuracy: Annotated[Fraction, Field(description="on the held-out data, e.g. '95%'")] | None = None

    @model_validator(mode="after")
    def _ends(self) -> Stop:
        if self.rounds is None and not self.limits:
            found = "none of 'rounds', 'time', 'bytes' and 'energy'"
            raise wrong_value(found, "at least one of them", "add e.g. 'rounds: 300' or 'time: 2 h'")
        return self

    @property
    def limits(self) -> dict[str, float]:
        """Return the amounts that end a run, in s, byte and J, by the names of `Evaluation.spent`."""
        given = {"time": self.time, "bytes": self.bytes, "energy": self.energy}
        return {name: limit for name, limit in given.items() if limit is not None}


class Evaluate(Part):
    """How often the model is evaluated on the held-out data; it takes no simulated time."""

    every: str = Field(default="10 rounds", description=EVERY, examples=["10 rounds", "30 s"])
    clients: bool = Field(
        default=False,
        strict=True,
        description="also the accuracy of the last model for each client, in its own mix of labels",
    )

    @field_validator("every", mode="before")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        rounds = ROUNDS.fullmatch(value.strip()) if isinstance(value, str) else None
        if rounds and int(rounds[1]) > 0:
            return f"{int(rounds[1])} round{'' if int(rounds[1]) == 1 else 's'}"
        try:
            every_s = PERIOD.read(value)
        except PydanticCustomError as error:
            remedy = f"did you mean '{value} rounds'?" if isinstance(value, int) and value > 0 else ""
            raise wrong_value(repr(value), EVERY, remedy) from error
        if every_s < SHORTEST_PERIOD_S:
            raise wrong_value(repr(value), f"{SHORTEST_PERIOD_S} s or more, or a number of rounds")
        return PERIOD.write(every_s)

    @property
    def every_rounds(self) -> int | None:
        """Rounds between two evaluations; None where they go by time."""
        rounds = ROUNDS.fullmatch(self.every)
        return int(rounds[1]) if rounds else None

    @property
    def every_s(self) -> float | None:
        """Simulated time between two evaluations; None where they go by rounds."""
        return None if self.every_rounds is not None else PERIOD.read(self.every)
