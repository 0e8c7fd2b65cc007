"""New scenarios: shipped ones under another name, with their comments and the line for editors."""

from __future__ import annotations

import re
from pathlib import Path

from sflsim.errors import SflsimError, did_you_mean
from sflsim.scenario.schema import Scenario
from sflsim.scenario.shipped import shipped
from sflsim.scenario.yaml_lines import write_yaml

SCHEMA_FILE = "sflsim.schema.json"
EDITOR_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
"""Makes an editor check the file against the schema beside it."""
NAME_LINE = re.compile(r"^name: (\S+)\n", re.MULTILINE)


def new_scenario(file: str | Path, like: str = "quickstart") -> str:
    """Return the text of a new scenario: a shipped one under the name of the file, comments included.

    Raises:
        SflsimError: the file's name is no name of a scenario, or none of that name is shipped.
    """
    known, path = shipped(), Path(file)
    if like not in known:
        remedy = did_you_mean(like, known)
        told = f"--like: found {like!r}; allowed: {', '.join(known)}"
        raise SflsimError(f"{told}; {remedy}" if remedy else told)
    if path.suffix not in (".yaml", ".yml") or not re.fullmatch(Scenario.SAFE_NAME, path.stem):
        allowed = "letters, digits, '.', '_' and '-', a letter or digit first, then .yaml"
        raise SflsimError(f"found {path.name!r}; allowed: {allowed} (the scenario is called as its file)")
    text = known[like].read_text(encoding="utf-8")
    line = NAME_LINE.search(text)
    assert line is not None, "every shipped scenario has a name"
    text = text.replace(f"scenarios/{like}.yaml", str(file)).replace(f"runs/{line[1]}", f"runs/{path.stem}")
    named = write_yaml({"name": path.stem})
    return EDITOR_LINE + NAME_LINE.sub(lambda _: named, text, count=1)
