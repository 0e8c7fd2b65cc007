"""No module touches another's private names: a name that begins with `_` is used where it was made.

Read from the source, without running it; tests are no exception, nor what they put in the place of
something (`setattr`, `mock.patch`). An object's own class, and the module in which that class stands,
may use its private names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMEDTUPLE = {"_asdict", "_fields", "_make", "_replace"}  # public, named so as to be no column
LIBRARIES = {
    "_repr_html_": "IPython: what a notebook shows of an object",
    "_exit": "os: ends a process at once, whatever its threads do",
    "_cdata": "torch: two tensors share a storage if this agrees",
    "_modules": "torch: a module's children by name, those that occur twice included",
    "_parameters": "torch: a module's own parameters, to be replaced in place",
    "_backward_hooks": "torch: has no public question for hooks",
    "_backward_pre_hooks": "torch: has no public question for hooks",
    "_post_accumulate_grad_hooks": "torch: has no public question for hooks",
    "_forward_hooks": "torch: has no public question for hooks",
    "_forward_pre_hooks": "torch: has no public question for hooks",
    "_addmm_activation": "torch: an operator's name",
    "_local_scalar_dense": "torch: an operator's name",
    "_scaled_dot_product_flash_attention": "torch: an operator's name",
    "_scaled_dot_product_efficient_attention": "torch: an operator's name",
    "_scaled_dot_product_flash_attention_for_cpu": "torch: an operator's name",
    "_foreach_add_": "torch: its optimizers' operator on many tensors at once",
    "_foreach_copy_": "torch: as `_foreach_add_`",
    "_BatchNorm": "torch: the class of all batch norms",
    "_DropoutNd": "torch: the class of all dropouts",
    "_queue": "simpy: the events to come, some of which come later than they were to",
    "_attn_implementation": "transformers: the attention kernel of a configuration",
}
"""What outside libraries keep private and the code needs all the same."""
REPLACING = ("setattr", "getattr", "patch", "patch.object")


def private_accesses(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, expression and name of every private name that is used on what another module made."""
    tree = ast.parse(source)
    own = {name for node in ast.walk(tree) for name in _made(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not _is_self(node.value):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(REPLACING):
            names = [text.rpartition(".")[2] for text in _texts(node)]
        else:
            continue
        yield from ((node.lineno, ast.unparse(node), name) for name in names if _private(name, own))


def _texts(node: ast.Call) -> list[str]:
    """The texts among the first two arguments: what `setattr(of, "name")` or `patch("of.name")` replaces."""
    constants = (argument.value for argument in node.args[:2] if isinstance(argument, ast.Constant))
    return [text for text in constants if isinstance(text, str)]


def _made(node: ast.AST) -> Iterator[str]:
    """Yield the private names that a node gives to the module or to the classes in it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
                yield from (one.id for one in targets if isinstance(one, ast.Name))
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
        yield node.attr


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _private(name: str, own: set[str]) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in own | NAMEDTUPLE


@cache
def accesses() -> list[tuple[str, str]]:
    """Return those of the package, the benchmarks, the analyses and the tests: place and expression, name."""
    folders = ("sflsim", "benchmarks", "analysis", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return [
        (f"{path.relative_to(ROOT)}:{line}: {text}", name)
        for path in sorted(paths)
        for line, text, name in private_accesses(path.read_text(encoding="utf-8"))
    ]


def test_no_private_name_of_another_module_is_touched() -> None:
    found = [place for place, name in accesses() if name not in LIBRARIES]
    assert not found, "\n".join(found)


def test_every_exception_is_used() -> None:
    assert {name for _, name in accesses()} == set(LIBRARIES)


ACCESSES = [
    "other._name",
    "a.b()._name = 1",
    "from sflsim.clock import _name",
    "patch.setattr(other, '_name', 1)",
    "patch.setattr('sflsim.clock._name', 1)",
]


@pytest.mark.parametrize("line", ACCESSES)
def test_a_private_access_is_found(line: str) -> None:
    assert [name for _, _, name in private_accesses(f"def f(other, a):\n    {line}\n")] == ["_name"]


OWN = ["self._name", "cls._name", "row._replace(time_s=1.0)", "other.__dict__", "other._made", "_name()"]


@pytest.mark.parametrize("line", OWN)
def test_ones_own_names_are_free(line: str) -> None:
    source = f"class Own:\n    _made = 1\n    def f(self, cls, row, other):\n        {line}\n"
    assert not list(private_accesses(source))
