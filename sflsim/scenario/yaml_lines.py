"""YAML text as plain data, with the line of every value.

Reads the core schema of YAML 1.2 ("1e-3" is a number, "on" and "1:30" are text), refuses what a
scenario never needs (tags, keys that are no text, keys given twice, NaN, infinity, numbers beyond 64
bits) and bounds depth and size, so that no file can hang or crash the reader.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from sflsim.errors import Problem, ScenarioError, refused
from sflsim.formatting import shorten

MAX_DEPTH = 32
MAX_VALUES = 100_000  # after aliases are written out

SCALARS = {
    "tag:yaml.org,2002:null": re.compile(r"^(?:~|null|Null|NULL|)$"),
    "tag:yaml.org,2002:bool": re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
    "tag:yaml.org,2002:int": re.compile(r"^[-+]?[0-9]+$", re.ASCII),
    "tag:yaml.org,2002:float": re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        re.ASCII,
    ),
}
TEXT = "tag:yaml.org,2002:str"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
"""Characters that no text of a scenario holds; U+0085 and the ends of lines are text to YAML."""
ENDS = re.compile(r"[\r\x85\u2028\u2029\ufeff]")
SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass
class Document:
    """Plain data and the line (from 1) at which each path ("fleet.groups[1].link") stands."""

    data: Any
    lines: dict[str, int] = field(default_factory=dict)


def join(path: str, step: str | int) -> str:
    """Return the path one step further: ("fleet", "groups") -> "fleet.groups", ("seeds", 0) -> "seeds[0]"."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


def parent(path: str) -> str:
    """Return the path one step back: "fleet.groups[1]" -> "fleet.groups", "fleet" -> ""."""
    return path[: max(path.rfind("."), path.rfind("["), 0)]


def read_yaml(text: str, file: str) -> Document:
    """Return the data of one YAML document and its lines.

    Raises:
        ScenarioError: no YAML, or YAML that a scenario may not hold; every such place is named.
    """
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise ScenarioError(_no_yaml(error.problem or str(error), file, line)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"the character U+{error.character:04X}, which no text holds"
        raise refused("", found, "text", "remove it", file, line) from error
    except yaml.YAMLError as error:
        raise ScenarioError(_no_yaml(" ".join(str(error).split()), file, None)) from error
    except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF" that is no character
        raise ScenarioError(_no_yaml(str(error), file, None)) from error
    builder = _Builder(file)
    data = None if node is None else builder.value(node, "", node.start_mark.line + 1, 0)
    if builder.problems:
        raise ScenarioError(builder.problems)
    return Document(data, builder.lines)


def write_yaml(data: Any) -> str:
    """Return `data` as YAML that `read_yaml`, and a reader of YAML 1.1, turns back into `data`."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def _no_yaml(reason: str, file: str, line: int | None) -> Problem:
    remedy = "check indentation, brackets and quotes at and just above this line" if line else ""
    return Problem("", f"no readable YAML ({reason})", "one YAML document", remedy, file, line)


class _TooDeep(yaml.MarkedYAMLError):
    """Nesting beyond MAX_DEPTH, met while the nodes are composed."""


class _Loader(yaml.SafeLoader):
    """Composes nodes (it constructs nothing), typed by SCALARS and bounded in depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs leave it so
            raise _TooDeep(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would take for something else; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        """Write text; what a reader would take for the end of a line is written as an escape."""
        return self.represent_scalar(TEXT, data, style='"' if ENDS.search(data) else None)


_Dumper.add_representer(str, _Dumper.text)
_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1's
for _tag, _pattern in SCALARS.items():
    _Loader.add_implicit_resolver(_tag, _pattern, None)
    _Dumper.add_implicit_resolver(_tag, _pattern, None)


class _Builder:
    """Turns nodes into data, noting lines and collecting problems."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self._left = MAX_VALUES
        self._open: set[int] = set()  # the nodes that the one at hand stands in

    def value(self, node: yaml.Node, path: str, line: int, depth: int) -> Any:
        """Return what `node` holds; `line` is where the user would look for `path`."""
        self._left -= 1
        if id(node) in self._open or depth > MAX_DEPTH or self._left < 0:
            found = (
                "an alias within what it stands for"
                if id(node) in self._open
                else f"aliases {MAX_DEPTH} deep"
            )
            found = found if self._left >= 0 else f"more than {MAX_VALUES} values, aliases written out"
            allowed = "a scenario that stays small when its aliases are written out"
            raise ScenarioError(self._problem(path, line, found, allowed, "write the values out"))
        self._open.add(id(node))
        value = self._held(node, path, line, depth)
        self._open.remove(id(node))
        return value

    def _held(self, node: yaml.Node, path: str, line: int, depth: int) -> Any:
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [
                self.value(item, join(path, i), item.start_mark.line + 1, depth + 1)
                for i, item in enumerate(node.value)
            ]
        if isinstance(node, yaml.ScalarNode) and (node.tag == TEXT or node.tag in SCALARS):
            return self._scalar(node, path, line)
        self._note(path, line, f"the tag '{node.tag}'", "plain values", "write the value without a tag")
        return None

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, item in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(path, line, "a key that is a list or a mapping", "keys that are text")
                continue
            key = self._text(key_node.value, path, line)
            below = join(path, key)
            if key_node.tag != TEXT:
                self._note(path, line, f"the key {key!r}", "keys that are text")
            elif key in mapping:
                remedy = f"it stands in line {self.lines[below]} already; keep one"
                self._note(below, line, f"the key '{key}' twice", "each key once", remedy)
            else:
                mapping[key] = self.value(item, below, line, depth + 1)
        return mapping

    def _scalar(self, node: yaml.ScalarNode, path: str, line: int) -> Any:
        text = node.value
        if node.tag == TEXT:
            return self._text(text, path, line)
        if not SCALARS[node.tag].match(text):
            self._note(path, line, f"the tag '{node.tag}' on {text!r}", "plain values")
            return None
        kind = node.tag.rpartition(":")[2]
        if kind == "int":
            return self._whole_number(text, path, line)
        if kind == "float":
            return self._number(text, path, line)
        return text.lower() == "true" if kind == "bool" else None

    def _text(self, text: str, path: str, line: int) -> str:
        if wrong := CONTROL.search(text) or SURROGATE.search(text):
            kind = "half a character (a lone surrogate)" if SURROGATE.search(text) else "a control character"
            found = f"{shorten(ascii(text))} with {kind}, U+{ord(wrong[0]):04X}"
            self._note(path, line, found, "text", "remove it, or write what it stands for")
            return SURROGATE.sub("?", text)
        return text

    def _whole_number(self, text: str, path: str, line: int) -> int:
        if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
            self._note(path, line, shorten(text), "a whole number of at most 64 bits")
            return 0
        return int(text)

    def _number(self, text: str, path: str, line: int) -> float:
        number = math.nan if text.lower().lstrip("+-") in (".nan", ".inf") else float(text)
        if not math.isfinite(number):
            self._note(path, line, shorten(text), "a finite number")
        return number

    def _note(self, path: str, line: int, found: str, allowed: str, remedy: str = "") -> None:
        self.problems.append(self._problem(path, line, found, allowed, remedy))

    def _problem(self, path: str, line: int, found: str, allowed: str, remedy: str = "") -> Problem:
        return Problem(path, found, allowed, remedy, self.file, line)
