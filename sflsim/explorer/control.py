"""One setting of a page, and how what a page sends for it is read.

A page gives a number, an amount, a word or a flat list of them, or one of the options; so it can set what a
control is for, and nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sflsim.errors import refused
from sflsim.formatting import shorten
from sflsim.scenario.yaml_lines import read_yaml

Kind = Literal["choice", "steps", "amount", "whole", "text"]
MOST_TEXT = 200


@dataclass(frozen=True)
class Control:
    """One setting: `value` is what the scenario has; of a choice and of steps, one of `options`."""

    id: str
    group: str
    label: str
    kind: Kind
    value: str
    options: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    needs: str = ""
    """A choice that must be as written: it replaces what this control is a part of."""
    values: tuple[Any, ...] = field(default=(), repr=False)
    """What the options stand for in a scenario."""

    def for_page(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {name: value for name, value in asdict(self).items() if name != "values"}

    def read(self, text: str) -> Any:
        """Return the value that a text stands for, as YAML would hold it.

        Raises:
            ScenarioError: it is none of the options, or no number, word or flat list of them.
        """
        if self.options:
            if text not in self.options:
                raise refused(self.id, repr(shorten(text)), ", ".join(self.options))
            return self.values[self.options.index(text)]
        if len(text) > MOST_TEXT:
            raise refused(self.id, f"{len(text)} characters", f"at most {MOST_TEXT}")
        value = read_yaml(f"[{text}]" if "," in text and "[" not in text else text, self.id).data
        plain = all(
            isinstance(one, (str, int, float)) for one in (value if isinstance(value, list) else [value])
        )
        if not plain or value == []:
            raise refused(self.id, repr(shorten(text)), "a number, an amount or a word, or a list of them")
        return value
