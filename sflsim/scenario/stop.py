"""When a run stops, and how often its model is evaluated."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from sflsim.fields import PERIOD, Count, Fraction, Period
from sflsim.mistakes import wrong_value

ROUNDS = re.compile(r"([0-9]{1,9}) *rounds?", re.ASCII)
SHORTEST_PERIOD_S = 1e-3
EVERY = "a number of rounds or a simulated time, above zero, e.g. '10 rounds' or '30 s'"


class Part(BaseModel):
    """Base of the scenario and its own parts: frozen and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stop(Part):
    """A run ends with whichever comes first; `accuracy` alone might never come."""

    rounds: Count | None = Field(default=None, description="rounds of training")
    time: Annotated[Period, Field(description="simulated time, e.g. '2 h'")] | None = None
    accuracy: Annotated[Fraction, Field(description="on the held-out data, e.g. '95%'")] | None = None

    @model_validator(mode="after")
    def _ends(self) -> Stop:
        if self.rounds is None and self.time is None:
            found = "no 'rounds' and no 'time'"
            raise wrong_value(found, "at least one of them", "add e.g. 'rounds: 300' or 'time: 2 h'")
        return self


class Evaluate(Part):
    """How often the model is evaluated on the held-out data; it takes no simulated time."""

    every: str = Field(default="10 rounds", description=EVERY, examples=["10 rounds", "30 s"])

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
