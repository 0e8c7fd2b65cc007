"""Writes docs/reference from the code when MkDocs builds, so that neither can drift from the other.

A hook of MkDocs (`hooks:` in mkdocs.yml). Scenario and algorithms come from the JSON Schema that
editors use, tables from `record.tables`, the command line from typer, the rest from docstrings.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

import typer

import sflsim
from sflsim.cli import app
from sflsim.fleet import catalog
from sflsim.record import tables
from sflsim.registry import algorithms
from sflsim.scenario.schema import json_schema
from sflsim.sweeps.table import FIGURES

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

Schema = Mapping[str, Any]
COMMON = ("algorithm", "name", "cut", "compression", "over_selection", "deadline")
MEANING = {
    "variant": "name of the variant",
    "seed": "scenario seed",
    "actor": "the device: a client, 'server:<slot>', or 'server' for a waiting job",
    "activity": "compute, slowdown, uplink, downlink, latency (right after its message), wait, absence; at "
    "the server serve, queue, contribution (an asynchronous client's, until the server has all of it)",
    "start_s": "simulated time",
    "end_s": "simulated time",
    "round": "round; of an asynchronous variant an update of the global model: the next, at or after the end",
    "client": "name of the device, '<group>-<number>'; at the server the one it serves",
    "bytes": "sent or received",
    "flop": "computed",
    "link": "the shared link: a direction of a server's link, an access point",
    "bytes_per_s": "the rate through it from `time_s` on",
    "active_energy_j": "of clients: above idling",
    "energy_j": "of clients: the total while they take part",
    "idle_j": "the idle part of energy_j: idle power x time of taking part, waiting included",
    "outcome": "done, wasted (part was dropped), lost (client disconnected), withdrawn, memory (no room yet)",
    "time_s": "simulated time",
    "step": "server steps so far, over all replicas",
    "accuracy": "share of the held-out samples, 0 to 1; NaN where nothing is learned",
    "loss": "on the held-out samples",
    "uplink_bytes": "sent by clients, so far or in all",
    "downlink_bytes": "received by clients, so far or in all",
    "client_busy_s": "device seconds of computing and slowdown",
    "server_busy_s": "slot seconds of serving",
    "group": "of the fleet",
    "flop_per_s": "rate of the device; empty with rates by kind",
    "up_bytes_per_s": "rate of its link, of the first message where it is redrawn",
    "down_bytes_per_s": "the same, towards the device",
    "memory_bytes": "of the device; NaN where the scenario does not say",
    "samples": "training samples that it holds",
    "cut": "blocks that it holds",
    "batch_size": "samples of its batches",
    "rounds": "rounds: taken part in (clients; asynchronous: contributions), made (runs), to the target "
    "(sweep)",
    "dropped": "participations that came too late and did not count",
    "compute_s": "time in this activity",
    "slowdown_s": "time in this activity",
    "uplink_s": "from the first byte of each message to its arrival, latency included",
    "downlink_s": "from the first byte of each message to its arrival, latency included",
    "wait_s": "from its own end to the end of the round; in psl also for merged batches",
    "absence_s": "away during a participation, with `on_absence: pause`",
    "wasted_s": "seconds of clients in dropped participations, absences left out",
    "wasted_bytes": "bytes of dropped participations",
    "left_out": "groups that took no part as their memory is too small (fleet.on_oom: exclude)",
    "peak_memory_bytes": "that the training takes on the device",
    "client_accuracy": "of the last model on held-out samples in the client's own mix of labels; NaN unless "
    "evaluate.clients is set",
    "algorithm": "name of the algorithm",
    "status": "completed, diverged, stalled (no client is left), interrupted; in a sweep also failed",
    "reason": "what ended the run",
    "client_memory_bytes": "largest peak memory of a client",
    "server_memory_bytes": "models that the server holds at once, at most",
    "error": "why a point failed",
    "target": "target accuracy",
    "reached": "whether an evaluation was at or above it",
    "run_rounds": "rounds of the whole run",
    "run_time_s": "simulated time of the whole run",
}
"""What columns mean; one that is missing here fails the build."""
COMMON_MATH = importlib.resources.files("sflsim.algorithms.common").iterdir()
PARTS = (
    "sflsim.simulation.base",
    "sflsim.simulation.synchronous",
    "sflsim.simulation.asynchronous",
    "sflsim.simulation.simulation",
    "sflsim.simulation.time_plane",
    "sflsim.clock.client",
    "sflsim.clock.server",
    *sorted(f"sflsim.algorithms.common.{one.name[:-3]}" for one in COMMON_MATH if one.name[0].isalpha()),
    "sflsim.learning.calls",
    "sflsim.learning.task",
    "sflsim.learning.zeroth_order",
)
"""The modules that an algorithm is made of."""


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def pages() -> dict[str, str]:
    """Return the text of every page of the reference by its name."""
    reader = Reader(json_schema())
    written = {
        "scenario": "\n".join(scenario_page(reader)),
        "algorithms": "\n".join(algorithms_page(reader)),
        "tables": "\n".join(tables_page()),
        "cli": "\n".join(cli_page()),
        "python": "\n".join(python_page()),
        "algorithm-parts": "\n".join(parts_page()),
        "catalog": "\n".join(catalog_page()),
        "gallery": gallery().page(),
    }
    return {name: escaped(text) for name, text in written.items()}


def gallery() -> ModuleType:
    """Return docs/gallery.py, the neighbour of this hook, as a module."""
    spec = importlib.util.spec_from_file_location("gallery", Path(__file__).with_name("gallery.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["gallery"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def escaped(text: str) -> str:
    """Return Markdown in which nothing but code has a "<": a "<name>" of a docstring is no HTML."""
    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    return "".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


class Reader:
    """The JSON Schema of a scenario, and what its parts are called here."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.definitions: Mapping[str, Schema] = schema["$defs"]

    def resolved(self, part: Schema) -> Schema:
        """Return what a reference stands for."""
        return self.definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else part

    def choices(self, part: Schema) -> list[Schema]:
        """Return the objects that a field may hold, distributions left out."""
        part = self.resolved(part)
        if "oneOf" in part:
            found = [self.resolved(one) for one in part["oneOf"]]
            inner = [choice for one in found for choice in self.choices(one)]
            return [] if is_distribution(found) else inner
        if "anyOf" in part:
            return [choice for one in part["anyOf"] for choice in self.choices(one)]
        if part.get("type") == "array" and "items" in part:
            return self.choices(part["items"])
        if isinstance(part.get("additionalProperties"), Mapping):
            return self.choices(part["additionalProperties"])
        return [part] if part.get("properties") else []

    def variants(self) -> list[Schema]:
        """Return what each algorithm takes."""
        return [
            self.resolved(one) for one in self.schema["properties"]["variants"]["items"]["anyOf"][1]["oneOf"]
        ]

    def distributions(self) -> list[Schema]:
        """Return the kinds of distribution, as they stand in a straggler."""
        return next(self._kinds(self.definitions["GroupConfig"]["properties"]["straggler"]))

    def _kinds(self, part: Schema) -> Iterator[list[Schema]]:
        part = self.resolved(part)
        found = [self.resolved(one) for one in part.get("oneOf", ())]
        if is_distribution(found):
            yield found
        for one in part.get("anyOf", ()):
            yield from self._kinds(one)

    def says(self, part: Schema) -> str:
        """Return what a field takes, in a few words."""
        if "$ref" in part:
            return self.says(self.resolved(part))
        if "const" in part:
            return f"`{part['const']}`"
        if "enum" in part:
            return " or ".join(f"`{one}`" for one in part["enum"])
        if "oneOf" in part:
            found = [self.resolved(one) for one in part["oneOf"]]
            if is_distribution(found):
                return "[a distribution](scenario.md#distributions)"
            return "a mapping with its fields"
        if "examples" in part and part.get("type") != "object":
            return "e.g. " + ", ".join(f"`{one}`" for one in part["examples"])
        if "pattern" in part and "type" not in part:
            return str(part["description"])
        if "anyOf" in part:
            told = [self.says(one) for one in part["anyOf"] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(told))
        if part.get("type") == "array":
            inner = self.says(part["items"]) if "items" in part else "values"
            return f"list of {inner}"
        if "properties" in part:
            return f"[{title_of(part)}](scenario.md#{anchor(title_of(part))})"
        bounds = {
            "minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most",
            "exclusiveMaximum": "below",
        }  # fmt: skip
        limits = ", ".join(f"{word} {part[key]:g}" for key, word in bounds.items() if key in part)
        kinds = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
        name = kinds.get(part.get("type", ""), "a mapping" if part.get("type") == "object" else "anything")
        return f"{name}, {limits}" if limits else name


def one_value(field: Schema) -> Schema:
    """Return a variant's field without the list that it may also hold."""
    one, *others = field.get("anyOf", [field])
    lists = [{"type": "array", "minItems": 1, "items": one}]
    return one if others == lists else field


def is_distribution(found: list[Schema]) -> bool:
    """Tell whether the choices are kinds of distribution."""
    return any(one.get("properties", {}).get("kind", {}).get("const") == "exponential" for one in found)


def title_of(part: Schema) -> str:
    """Return what an object is called here: its kind, or its Config's name without its suffix."""
    kind = part["properties"].get("kind", {}).get("const")
    return f"kind: {kind}" if kind else re.sub("Config$", "", str(part.get("title", "Mapping")))


def anchor(title: str) -> str:
    """Return the anchor that Markdown's toc gives a title."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def cell(text: str) -> str:
    """Return text that fits one cell of a table."""
    return " ".join(text.replace("|", "\\|").split())


def fields(reader: Reader, part: Schema, leave: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the table of an object's fields."""
    required = part.get("required", ())
    yield "| field | takes | default | |"
    yield "|---|---|---|---|"
    for name, field in part["properties"].items():
        if name in leave:
            continue
        field = one_value(field)
        default = field.get("default")
        if name in required:
            shown = "required"
        elif default is None or default == "" or default == {}:
            shown = ""
        elif isinstance(default, dict):
            shown = "`{" + ", ".join(f"{key}: {value}" for key, value in default.items()) + "}`"
        else:
            shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
        yield f"| `{name}` | {cell(reader.says(field))} | {shown} | {cell(field.get('description', ''))} |"
    yield ""


def scenario_page(reader: Reader) -> Iterator[str]:
    """Yield the page of a scenario's fields."""
    yield "# Scenario\n"
    yield "A scenario is one YAML file: one fleet, one workload, several variants, several seeds. Generated"
    yield "from the schema that `sflsim schema` prints. Amounts are written with their unit.\n"
    yield from fields(reader, reader.schema)
    seen: set[str] = set()
    queue = [
        choice
        for name, field in reader.schema["properties"].items()
        if name != "variants"
        for choice in reader.choices(field)
    ]
    parts = [field for variant in reader.variants() for field in variant["properties"].values()]
    queue += [
        choice for part in (*parts, reader.definitions["BurstsConfig"]) for choice in reader.choices(part)
    ]
    while queue:
        part = queue.pop(0)
        title = title_of(part)
        if title in seen:
            continue
        seen.add(title)
        yield f"## {title}\n"
        yield f"{part.get('description', '')}\n"
        yield from fields(reader, part)
        inner = [choice for field in part["properties"].values() for choice in reader.choices(field)]
        queue = inner + queue
    yield "## Distributions\n"
    yield "For stragglers, links, computing rates and distances; the unit is that of the place. In a link"
    yield "`redraw` is `client` (default) or `message`; `effect`, `redraw`, `correlation` and `bursts` below"
    yield "are a [straggler's](../background/stragglers.md). Those without an upper bound take a `cap`.\n"
    for part in reader.distributions():
        yield f"### {title_of(part)}\n"
        yield f"{part.get('description', '')}\n"
        yield from fields(reader, part)


def algorithms_page(reader: Reader) -> Iterator[str]:
    """Yield the page of the algorithms: docstring of the module, fields of the Config."""
    schemas = {own["properties"]["algorithm"]["const"]: own for own in reader.variants()}
    yield "# Algorithms\n"
    yield "Each is one file in `sflsim/algorithms/`; the text is its docstring. Every variant also has `name`"
    yield "and `cut` (blocks the client holds, the last block's name, or"
    yield "[a cut for each client](scenario.md#perclientcut)) and [`compression`](../how-to/compression.md);"
    yield "those made of rounds have `over_selection` and `deadline`. A list in a field expands into one"
    yield "variant each.\n"
    for name, algorithm in algorithms().items():
        yield f"## {name}\n"
        yield f"{inspect.getdoc(sys.modules[algorithm.__module__]) or ''}\n"
        yield from fields(reader, schemas[name], COMMON)


def tables_page() -> Iterator[str]:
    """Yield the page of the tables' columns."""
    yield "# Tables\n"
    yield "Attributes of a `Run`, and files of its folder (`runs` is part of `run.json`). Units end the"
    yield "names; a column `bytes` is in byte, `flop` in FLOP. What the columns mean:"
    yield "[what the clock means](../background/clock.md).\n"
    for name, columns in tables.COLUMNS.items():
        yield f"## {name}\n"
        yield from _columns(columns)
    yield "## sweep\n"
    yield f"{inspect.cleandoc(sflsim.Sweep.__doc__ or '').splitlines()[0]} `Sweep.table` and `sweep.parquet`:"
    yield "`point`, a column for each path that is swept, then these. Beside a path whose values are amounts"
    yield "stands a column of their numbers, its unit in the name (`fleet.straggler.mean_s`; rates in byte/s,"
    yield "distances in m). `rounds` to `energy_j` are up to the first evaluation at the target.\n"
    yield from _columns(FIGURES)
    yield "## plan\n"
    yield f"{inspect.getdoc(sflsim.Plan) or ''}\n"


def _columns(columns: Mapping[str, str]) -> Iterator[str]:
    yield "| column | type | |"
    yield "|---|---|---|"
    yield from (f"| `{column}` | {kind} | {MEANING[column]} |" for column, kind in columns.items())
    yield ""


def cli_page() -> Iterator[str]:
    """Yield the page of the command line."""
    yield "# Command line\n"
    yield "Exit codes: 0 done (some runs may have stalled or diverged), 1 failed, interrupted, or every run"
    yield "diverged, 2 the input cannot be used, 3 done and saved, but not all could be printed or drawn.\n"
    yield from _commands("sflsim", typer.main.get_command(app))


def _commands(name: str, command: Any) -> Iterator[str]:
    if name != "sflsim":
        yield f"## {name}\n"
        yield f"{command.help or ''}\n"
        rows = [_parameter(one) for one in command.params]
        if rows:
            yield "| | |"
            yield "|---|---|"
            yield from rows
            yield ""
    for inner, one in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {inner}", one)


def _parameter(one: Any) -> str:
    if one.param_type_name == "argument":
        return f"| `{one.name.upper()}` | {cell(one.help or '')} |"
    value = "" if getattr(one, "is_flag", False) else " " + cell(one.metavar or "VALUE")
    return f"| `{one.opts[0]}{value}` | {cell(one.help or '')} |"


def python_page() -> Iterator[str]:
    """Yield the page of the public names."""
    yield "# Python\n"
    yield "All of `sflsim.__all__`; the rest of the package may change without notice.\n"
    for name in sflsim.__all__:
        yield from _described(name, getattr(sflsim, name), "##")


def parts_page() -> Iterator[str]:
    """Yield the page of what an algorithm is made of: bases, verbs of the clock, math that others have."""
    yield "# Parts of an algorithm\n"
    yield "What [a new algorithm](../how-to/algorithm.md) can derive from, wait for and call: the bases of a"
    yield "protocol, the verbs on the clock, exchanges between client and server, and math for stacked"
    yield "participants. These names may change between versions.\n"
    for module in map(import_module, PARTS):
        yield f"## {module.__name__}\n"
        yield f"{_text(inspect.getdoc(module) or '')}\n"
        for name, thing in vars(module).items():
            own = getattr(thing, "__module__", "") == module.__name__
            if own and not name.startswith("_") and (inspect.isfunction(thing) or inspect.isclass(thing)):
                yield from _described(name, thing, "###")


def _described(name: str, thing: Any, heading: str) -> Iterator[str]:
    """Yield a function's signature and docstring, or a class's with the first paragraph of each method's."""
    yield f"{heading} {name}\n"
    if inspect.isfunction(thing):
        yield f"```\n{name}{inspect.signature(thing)}\n```\n"
    yield f"{_text(inspect.getdoc(thing) or '')}\n"
    if inspect.isclass(thing) and thing.__module__.startswith("sflsim"):
        for inner, member in vars(thing).items():
            text = inspect.getdoc(getattr(member, "__func__", member))
            shown = isinstance(member, (property, classmethod)) or inspect.isfunction(member)
            if shown and text and not inner.startswith("_"):
                yield f"- `{inner}`: {cell(_text(text).split(chr(10) * 2)[0])}"
        yield ""


def _text(docstring: str) -> str:
    """Return a docstring as Markdown: the list of what is raised under a plain line."""
    return re.sub(
        r"\nRaises:\n((?: {4}.*\n?)+)", lambda found: "\nRaises:\n\n" + _listed(found[1]), docstring
    )


def _listed(lines: str) -> str:
    return "\n".join(f"- {line.strip()}" for line in lines.splitlines())


def catalog_page() -> Iterator[str]:
    """Yield the page of the catalog: every figure with its source."""
    yield "# Catalog\n"
    yield "What a scenario may name in place of figures, as `sflsim catalog` lists it, beside"
    yield "[devices and links of your own](../how-to/catalog.md).\n"
    for table in get_args(catalog.Table):
        yield f"## {table.capitalize()}\n"
        yield "| name | figure | value | status | source |"
        yield "|---|---|---|---|---|"
        for entry in catalog.entries(table).values():
            for number, figure in enumerate(entry.figures):
                name = f"`{entry.name}`" if number == 0 else ""
                told = (name, figure.key, cell(figure.text), figure.status, cell(figure.source))
                yield f"| {' | '.join(told)} |"
        yield ""
