"""Packages import only what lies below them, and each outside library is imported in its own places.

Read from the source, imports inside functions included, so that nothing has to be run. An import
for type checkers alone moves no code, so it counts for the first and not for the libraries.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sflsim"

BASE = {
    *(
        "errors",
        "foreign",
        "trust",
        "units",
        "fields",
        "formatting",
        "streams",
        "mistakes",
        "readers",
        "rows",
        "work",
    ),
}
PLANES = {"clock", "learning", "fleet"}
TABLES = {"record", "metrics", "report"}
RUNS = {"provenance", "record", "registry", "scenario", "session", "experiment"}
USES = {"sweeps", "planner", "explainer", "diagnostics"}
# What each part of the house may import of the house, itself apart. A new part needs a line here.
ARROWS: dict[str, set[str]] = {
    "errors": {"formatting"},
    "foreign": {"errors", "formatting"},
    "units": {"unit_spellings"},
    "unit_spellings": set(),
    "trust": set(),
    "formatting": set(),
    "fields": {"errors", "mistakes", "units"},
    "streams": set(),
    "work": set(),
    "mistakes": {"errors"},
    "readers": set(),
    "rows": set(),
    "claims": set(),
    "provenance": set(),
    "registry": {"errors", "trust"},
    "component_fields": {"errors", "fields", "foreign", "mistakes", "registry", "trust"},
    "workers": {"errors"},
    "fleet": {*BASE, "component_fields", "registry"},
    "clock": {*BASE, "fleet"},
    "learning": {*BASE, "component_fields", "registry", "claims"},
    "simulation": {*BASE, *PLANES},
    "algorithms": {*BASE, *PLANES, "simulation"},
    "scenario": {*BASE, *PLANES, "component_fields", "registry", "simulation"},
    "record": {"errors", "formatting", "claims", "readers", "rows"},
    "metrics": {"record", "rows"},
    "report": {"errors", "formatting", "provenance", "metrics", "rows"},
    "session": {*BASE, *PLANES, "registry", "simulation", "scenario"},
    "experiment": {*BASE, *PLANES, *TABLES, "provenance", "simulation", "scenario", "session", "workers"},
    "retime": {*BASE, *PLANES, "registry", "simulation", "scenario", "session"},
    "diagnostics": {
        *BASE,
        "provenance",
        *PLANES,
        "registry",
        "algorithms",
        "simulation",
        "scenario",
        "session",
    },
    "sweeps": {*BASE, *PLANES, *RUNS, "simulation", "report", "workers"},
    "explainer": {*BASE, *PLANES, *RUNS, "metrics", "simulation", "retime", "workers"},
    "planner": {*BASE, *PLANES, *RUNS, "report", "retime", "explainer", "workers"},
    "exporter": {*BASE, *PLANES, *TABLES, "experiment", "sweeps", "planner"},
    "explorer": {*BASE, *PLANES, *RUNS, "metrics", "report", "simulation", "workers"},
    "terminal": {*BASE, *PLANES, *USES, "experiment", "metrics", "report", "scenario"},
    "cli": {
        *(*BASE, *PLANES, *USES, *RUNS, "metrics", "exporter", "explorer", "report", "terminal", "workers"),
    },
    "__init__": {
        *("provenance", "errors", "learning", "registry", "scenario", "experiment", "metrics", "exporter"),
        *USES,
        "terminal",
    },
    "__main__": {"cli"},
}
# Where an outside library may be imported at all, and where it must not be loaded on import.
HOMES: dict[str, set[str]] = {
    "simpy": {"clock"},
    "torch": {"learning", "algorithms", "session", "experiment"},
    "pint": {"units"},
    "matplotlib": {"report"},
    "plotly": {"report"},
    "typer": {"cli"},
    "scipy": {"planner", "fleet", "metrics", "diagnostics"},
    "sqlite3": {"learning"},
    "ray": {"workers"},
    "optuna": {"planner"},
    "starlette": {"explorer"},
    "uvicorn": {"explorer"},
    "safetensors": {"learning"},
    "transformers": {"learning"},
    "peft": {"learning"},
    "datasets": {"learning"},
    "flwr_datasets": {"learning"},
    "PIL": {"learning"},
    "tensorboard": {"exporter"},
    "mlflow": {"exporter"},
    "trackio": {"exporter"},
    "IPython": {"terminal"},
}
LAZY_ONLY = {("torch", part) for part in ("algorithms", "session", "experiment")} | {
    ("plotly", "report"),
    ("optuna", "planner"),
    ("starlette", "explorer"),
    ("uvicorn", "explorer"),
    ("scipy", "planner"),
    ("scipy", "fleet"),
    ("scipy", "metrics"),
    ("scipy", "diagnostics"),
    ("transformers", "learning"),
    ("peft", "learning"),
    ("datasets", "learning"),
    ("flwr_datasets", "learning"),
    ("PIL", "learning"),
    ("IPython", "terminal"),
    *((one, "exporter") for one in ("tensorboard", "mlflow", "trackio")),
}
# Of learning, what a scenario is made of: read without torch.
TORCH_FREE = (
    "config",
    "costs",
    "calls",
    "codecs/",
    "compression",
    "optimizers",
    "schedules",
    "signatures",
    "processor",
    "graph/timing_only",
    "graph/executor",
    "graph/lineage",
    "graph/own_source",
    "graph/store",
    "graph/serialization",
    "graph/locks",
    "graph/disk_",
    "models/",
    "data/",
)


@dataclass(frozen=True)
class Import:
    """One import of one module, and whether it runs when its own module is imported."""

    file: str
    line: int
    module: str
    lazy: bool
    for_types: bool

    @property
    def part(self) -> str:
        """The part of the house that imports."""
        return self.file.split("/")[0].removesuffix(".py")

    @property
    def target(self) -> str:
        """The part of the house that is imported, or the outside library."""
        root, _, rest = self.module.partition(".")
        return (rest.split(".")[0] or "__init__") if root == "sflsim" else root

    def __str__(self) -> str:
        return f"sflsim/{self.file}:{self.line} imports {self.module}"


def imports_of(source: str, file: str) -> list[Import]:
    """Return every import in the source of a module of the package."""
    found: list[Import] = []
    here = ["sflsim", *file.removesuffix(".py").split("/")]

    def visit(node: ast.AST, lazy: bool, for_types: bool) -> None:
        for name in names(node, here):
            found.append(Import(file, getattr(node, "lineno", 0), name, lazy, for_types))
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                visit(child, lazy, True)
            for child in node.orelse:
                visit(child, lazy, for_types)
            return
        inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, inside, for_types)

    visit(ast.parse(source), False, False)
    return found


def names(node: ast.AST, here: list[str]) -> Iterator[str]:
    """Yield the modules that one statement imports; `from sflsim import units` is sflsim.units."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = [*here[: -node.level], node.module or ""] if node.level else [node.module or ""]
        module = ".".join(step for step in base if step)
        if module == "sflsim":
            yield from (f"sflsim.{alias.name}" if alias.name in ARROWS else "sflsim" for alias in node.names)
        else:
            yield module
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        yield ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else "anything"


def against_arrows(one: Import) -> bool:
    """Tell whether an import of the house points up."""
    if not one.module.startswith("sflsim") or one.target == one.part:
        return False
    return one.target not in ARROWS.get(one.part, set())


def away_from_home(one: Import) -> bool:
    """Tell whether an outside library is imported where it has no place, or too early."""
    if one.for_types or one.target not in HOMES:
        return False
    early = not one.lazy and (
        (one.target, one.part) in LAZY_ONLY
        or (one.target == "torch" and one.file.removeprefix("learning/").startswith(TORCH_FREE))
    )
    return early or one.part not in HOMES[one.target]


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return [
        one
        for path in sorted(PACKAGE.rglob("*.py"))
        for one in imports_of(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix())
    ]


def test_every_part_has_its_arrows() -> None:
    """No module or package stands outside of the table, and no line of it is for nothing."""
    parts = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts == set(ARROWS)


def test_there_are_no_circles() -> None:
    """What the table allows can be put in an order, so no two parts import each other."""
    assert len(list(TopologicalSorter(ARROWS).static_order())) == len(ARROWS)


def test_arrows_point_down(imports: list[Import]) -> None:
    """Nothing of the house imports what stands above it or beside it."""
    assert len(imports) > 200
    assert not [str(one) for one in imports if against_arrows(one)]


def test_arrows_make_no_circle() -> None:
    """The table itself has an order."""
    left = dict(ARROWS)
    while left:
        lowest = [part for part, below in left.items() if not below & set(left)]
        assert lowest, f"a circle among {sorted(left)}"
        for part in lowest:
            del left[part]


def test_libraries_stay_at_home(imports: list[Import]) -> None:
    """Only clock imports simpy; torch is learning's, and lazy wherever a scenario is read from."""
    assert not [str(one) for one in imports if away_from_home(one)]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("clock/server.py", "import torch"),
        ("clock/server.py", "def f():\n    from torch import nn"),
        ("clock/server.py", "from sflsim.learning.costs import Costs"),
        ("clock/server.py", "from ..learning import costs"),
        ("learning/task.py", "import simpy"),
        ("learning/task.py", "if True:\n    from sflsim.clock.engine import Event"),
        ("learning/task.py", "class A:\n    def f(self):\n        import sflsim.clock"),
        ("algorithms/new.py", "from simpy import Event"),
        ("algorithms/new.py", "import torch"),
        ("algorithms/new.py", "from sflsim.scenario.schema import Scenario"),
        ("learning/models/new.py", "from torch import nn"),
        ("fleet/devices.py", "def f():\n    import simpy.events as e"),
        ("fleet/devices.py", "import importlib\nimportlib.import_module('torch')"),
        ("report/plots.py", "from sflsim import run"),
        ("report/html.py", "import plotly"),
        ("run.py", "def f():\n    import plotly"),
        ("report/plots.py", "from sflsim.experiment.run import Run"),
        ("record/tables.py", "import torch"),
        ("registry.py", "from sflsim.simulation.base import Algorithm"),
        ("units.py", "from sflsim import errors"),
        ("new.py", "import sflsim.errors"),
    ],
)
def test_a_planted_import_is_caught(file: str, source: str) -> None:
    """The rules see what they forbid, wherever it hides."""
    assert any(against_arrows(one) or away_from_home(one) for one in imports_of(source, file))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("algorithms/new.py", "from sflsim.clock.engine import Event\ndef f():\n    import torch"),
        (
            "algorithms/new.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import Tensor",
        ),
        ("learning/task.py", "import torch"),
        ("fleet/devices.py", "from sflsim import units\nfrom sflsim.fleet.links.links import Link"),
    ],
)
def test_an_allowed_import_is_not(file: str, source: str) -> None:
    """The rules let through what the house is built of."""
    assert not any(against_arrows(one) or away_from_home(one) for one in imports_of(source, file))


TIMING_ONLY = """
import sys
sys.path.insert(0, {tests!r})
from support import data, read
from sflsim.experiment.simulate import simulate
names = ("splitfed-v1", "splitfed-v2", "ho-sfl", "cse-fsl", "fedasync")
variants = [{{"algorithm": "mu-splitfed", "tau": "adaptive"}}, *({{"algorithm": name}} for name in names)]
for keep_spans in (True, False):
    scenario = read(data(variants=variants, stop={{"time": "60 s"}}))
    run = simulate(scenario, timing_only=True, keep_spans=keep_spans)
    assert run.runs["status"].eq("completed").all()
"""
TRAINING = """
import sys
sys.path.insert(0, {tests!r})
from support import data, read
from sflsim.experiment.simulate import simulate
assert simulate(read(data())).evaluations["loss"].nunique() == 2
"""
DERIVED = """
import sys
sys.path.insert(0, {tests!r})
from support import data, read
import sflsim
workload = {{key: value for key, value in data()["workload"].items() if key != "costs"}}
momentum = {{"algorithm": "ho-sfl", "server_optimizer": {{"lr": 0.01, "momentum": 0.9}}}}
assert len(sflsim.simulate(read(data(workload=workload, variants=["cse-fsl", momentum]))).runs) == 2
"""
VALIDATE = """
import contextlib, io
from sflsim.cli import app
with contextlib.redirect_stdout(io.StringIO()):
    app(["validate", "scenarios/quickstart.yaml"], standalone_mode=False)
"""
TESTS = str(PACKAGE.parent / "tests")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("from sflsim.scenario import json_schema, loading; json_schema()", ("torch", "sklearn")),
        (TIMING_ONLY.format(tests=TESTS), ("torch", "matplotlib")),
        (VALIDATE, ("torch", "sklearn", "pandas", "matplotlib")),
        (TRAINING.format(tests=TESTS), ("torch._dynamo", "sklearn", "matplotlib")),
        (DERIVED.format(tests=TESTS), ("torch._dynamo", "torch._inductor")),
    ],
    ids=[
        "reading a scenario",
        "a timing-only run with all costs given",
        "a check of a scenario with costs",
        "a short training",
        "a training whose costs come from the model",
    ],
)
def test_what_is_not_loaded(code: str, absent: tuple[str, ...]) -> None:
    """A fresh process has not loaded what the code does not need."""
    code += f"\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PACKAGE.parent
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_references_know_nothing_of_the_package() -> None:
    """What an algorithm is compared with imports no code of it."""
    references = sorted(Path(TESTS, "oracle", "references").glob("*.py"))
    assert len(references) > 15
    for path in references:
        found = imports_of(path.read_text(encoding="utf-8"), path.name)
        assert not [one.module for one in found if one.module.split(".")[0] == "sflsim"]


def test_no_two_test_files_share_a_name() -> None:
    """Test folders are no packages: pytest refuses to collect two modules of one name in a clean tree."""
    names = [path.name for path in Path(__file__).parents[1].rglob("*.py")]
    assert sorted(names) == sorted(set(names))
