"""Every snippet of docs/ runs, in the order of its page, shortened; the reference names what there is."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import yaml
from support import imported
from typer.testing import CliRunner

import sflsim
import sflsim.algorithms.common
from sflsim import registry
from sflsim.cli import app
from sflsim.record import tables
from sflsim.scenario.loading import load_scenario, parse_scenario

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
SHORT = ["stop={rounds: 2}", "seeds=[0]", "evaluate.every=1 round"]
RUN = [part for change in SHORT for part in ("--set", change)]
LONG = {"calibrate", "capacity-planning", "export", "papers", "run-folder"}
"""Pages that take longer than the default suite has time for."""


class Block(NamedTuple):
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that looks like a clone; scenarios read in it are cut short, what is registered goes again."""
    for name in ("scenarios", "analysis"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sflsim, "load_scenario", shortened(load_scenario), raising=False)
    monkeypatch.setattr(sflsim, "parse_scenario", shortened(parse_scenario), raising=False)
    with registry.forgetting():
        yield tmp_path


def shortened(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reader of scenarios that adds the changes of SHORT."""

    def reader(source: Any, overrides: Any = ()) -> Any:
        return read(source, overrides=[*overrides, *SHORT])

    return reader


def pages() -> Iterator[Any]:
    for page in PAGES:
        marks = [pytest.mark.slow] if page.stem in LONG else []
        yield pytest.param(page, marks=marks, id=page.stem)


@pytest.mark.parametrize("page", list(pages()))
def test_snippets_run(page: Path, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML is valid (a named file is kept), shell commands succeed, Python runs as one module."""
    if "report" in page.read_text(encoding="utf-8"):
        pytest.importorskip("plotly")
    for tracker in ("tensorboard", "mlflow") if page.stem == "export" else ():
        pytest.importorskip(tracker)
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    known = {"yaml": read_yaml, "shell": run_commands, "toml": lambda *_: None, "": lambda *_: None}
    for number, (language, text) in enumerate(blocks(page)):
        if language == "python":
            run_python(module, text, clone / f"{module.__name__}_{number}.py")
        else:
            known[language](text, clone)


def run_python(module: ModuleType, text: str, file: Path) -> None:
    """Run a block as part of the page's module; its source lies in a file, which keys are made from."""
    file.write_text(text, encoding="utf-8")
    module.__file__ = str(file)
    exec(compile(text, str(file), "exec", dont_inherit=True), module.__dict__)


def read_yaml(text: str, clone: Path) -> None:
    """A whole scenario, keys of one or a catalog is valid; '# name.yaml' as first line makes a file of it."""
    content = yaml.safe_load(text)
    if content.keys() <= {"devices", "links"}:
        content = {"catalog": content}
    if "workload" not in content or "variants" not in content:
        base = yaml.safe_load((ROOT / "scenarios/quickstart.yaml").read_text(encoding="utf-8"))
        content = base | content
    sflsim.Scenario.model_validate(content)
    if named := re.match(r"# (\S+\.yaml)\n", text):
        (clone / named[1]).write_text(text, encoding="utf-8")


def run_commands(text: str, clone: Path) -> None:
    """Each line is one command of sflsim, or a study."""
    for line in text.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        if program == "python":
            run_study(arguments, clone)
            continue
        assert program == "sflsim"
        expanded = [part for one in arguments for part in (sorted(map(str, clone.glob(one))) or [one])]
        extra = RUN if arguments[0] in ("run", "sweep", "plan") else []
        extra = [*extra, "--workers", "1"] if arguments[0] in ("run", "sweep") else extra
        with pytest.MonkeyPatch.context() as patch:
            if arguments[0] != "plot":  # that every run draws is shown elsewhere
                patch.setattr("sflsim.report.plots.plot_all", lambda *_: [])
            result = CliRunner().invoke(app, expanded + extra)
        assert result.exit_code == 0, (line, result.output)


def run_study(arguments: list[str], clone: Path) -> None:
    """In a process of its own: what is cut short here is not its business."""
    command = [sys.executable, *arguments, "--quick"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    """Return the pages that docs/generate.py writes."""
    written: dict[str, str] = imported(DOCS / "generate.py").pages()
    return written


def test_the_reference_names_everything(reference: dict[str, str]) -> None:
    """Algorithms, distributions, columns, public names, commands and catalog entries all stand in it."""
    for name in registry.algorithms():
        assert f"\n## {name}\n" in reference["algorithms"]
    for group in (registry.models, registry.datasets, registry.partitions, registry.distributions):
        for name in group():
            assert f"# kind: {name}\n" in reference["scenario"]
    for columns in tables.COLUMNS.values():
        assert all(f"| `{column}` |" in reference["tables"] for column in columns)
    assert all(f"\n## {name}\n" in reference["python"] for name in sflsim.__all__)
    assert {"## sflsim run", "## sflsim plan", "## sflsim cache prune"} <= set(reference["cli"].splitlines())
    for field in sflsim.Scenario.model_fields:
        assert f"| `{field}` |" in reference["scenario"]
    assert "`raspberry-pi-4`" in reference["catalog"]


def test_the_reference_has_what_algorithms_are_made_of(reference: dict[str, str]) -> None:
    """Every public function that the packaged algorithms share, the exchanges among them."""
    page = reference["algorithm-parts"].splitlines()
    for module in pkgutil.iter_modules(sflsim.algorithms.common.__path__):
        content = vars(importlib.import_module(f"sflsim.algorithms.common.{module.name}"))
        own = [name for name, one in content.items() if getattr(one, "__module__", "").endswith(module.name)]
        assert own
        assert {f"### {name}" for name in own if not name.startswith("_")} <= set(page)
    assert {"### exchange_gradients", "### Synchronous", "### Client", "### average"} <= set(page)


def test_the_reference_has_no_html(reference: dict[str, str]) -> None:
    """A "<variant>" of a docstring is shown as it is, outside of code as an escape."""
    for name, text in reference.items():
        plain = "".join(re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)[::2])
        assert "<" not in plain, name
    assert "&lt;scenario name>" in reference["cli"]


def test_every_page_is_in_the_navigation() -> None:
    """No page is lost; the reference has the pages that are generated."""
    listed = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    written = {page.relative_to(DOCS).as_posix() for page in PAGES}
    assert {page for page in listed if not page.startswith("reference/")} == written


def test_the_index_lists_every_page() -> None:
    """Whoever starts at docs/index.md finds each page that the navigation has."""
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r": (\S+\.md)$", config, re.MULTILINE)) - {"index.md"}
    linked = set(re.findall(r"\]\((\S+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert listed <= linked


def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    """Strictly, that is without a warning; no page loads a script, a style or a picture from elsewhere."""
    pytest.importorskip("mkdocs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path))
    build(config)
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)\b[^>]*(?:src|href)=\"?(\S+?)[\"\s>]", page.read_text())
        assert not [url for url in loaded if re.match(r"(https?:)?//", url)], page
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import ['\"]?http", style.read_text()), style
