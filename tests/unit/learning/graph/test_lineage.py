"""Keyed calls: what changes a key, what is computed once, what is never computed."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle.harness import RecordingSession, scenario

import sflsim
from sflsim.learning.calls import average, initial
from sflsim.learning.graph import lineage, own_source
from sflsim.learning.graph.executor import Executor
from sflsim.learning.graph.fingerprint import of_code
from sflsim.learning.graph.lineage import Args, Call, Handle
from sflsim.learning.graph.store import MemoryStore
from sflsim.learning.learner import Learner
from sflsim.learning.models.mlp import MLP
from sflsim.session import Options, Outcome, Session

V1 = {"algorithm": "splitfed-v1", "local_iterations": 2}
V2 = {"algorithm": "splitfed-v2", "local_iterations": 2}
MU = {"algorithm": "mu-splitfed", "tau": 2}


def add(task: Any, arguments: Sequence[Args], *, plus: float) -> list[Any]:
    """A piece of math on numbers: the sum of `of`, and `plus`."""
    return [{"sum": torch.tensor(sum(float(of["sum"]) for of in args["of"]) + plus)} for args in arguments]


def other(task: Any, arguments: Sequence[Args], *, plus: float) -> list[Any]:
    return add(task, arguments, plus=plus)


class Numbers:
    """The least task that an executor takes."""

    participants_at_once = 1
    key = ""

    def loaded(self) -> Any:
        return self

    def alike(self, arguments: Any) -> list[list[int]]:
        return [list(range(len(arguments)))]


def call(*arguments: Sequence[Handle], plus: float = 1.0) -> list[Handle]:
    return list(Call("task", add, [{"of": list(of)} for of in arguments], {"plus": plus}).handles)


class Watched(Executor):
    """An executor that notes which calls reach `run` together."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        super().__init__(Numbers(), store or MemoryStore())
        self.batches: list[list[Call]] = []

    def run(self, calls: Sequence[Call], values: dict[str, Any]) -> Any:
        self.batches.append(list(calls))
        return super().run(calls, values)

    def number(self, handle: Handle) -> float:
        return float(self.resolve([handle])[0]["sum"])


# Keys.

ARGS: Args = {"client": 1, "batches": [(1, 0), (1, 1)], "rate": 0.1, "name": "a", "flag": True, "none": None}
SHARED: Args = {"optimizer": {"name": "SGD", "lr": 0.1}, "lam": 0.5}


def key(args: Args = ARGS, shared: Args = SHARED, task: str = "task", function: Any = add) -> str:
    start = Call(task, initial, [{}], {}).handles[0]
    return Call(task, function, [{"start": start, **args}], shared).handles[0].key


def test_equal_calls_have_equal_keys() -> None:
    """The order in which arguments are named does not matter, nor whether a list came as a tuple."""
    assert key(dict(reversed(ARGS.items()))) == key()
    assert key({**ARGS, "batches": ((1, 0), (1, 1))}) == key()


@pytest.mark.parametrize(
    "change",
    [
        {"client": 2}, {"client": 1.0}, {"batches": [(1, 0), (1, 2)]}, {"batches": [(1, 1), (1, 0)]},
        {"rate": 0.1 + 2**-56}, {"name": "b"}, {"name": 1}, {"flag": 1}, {"flag": None}, {"none": 0},
        {"none": "None"}, {"more": 0}, {"client": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_every_argument_of_a_participant_counts(change: Args) -> None:
    """Any other value, and any other type of value, gives another key."""
    assert key({**ARGS, **change}) != key()


@pytest.mark.parametrize(
    "change", [{"lam": 0.25}, {"optimizer": {"name": "SGD", "lr": 0.2}}, {"optimizer": {"name": "SGD"}}]
)
def test_every_shared_argument_counts(change: Args) -> None:
    """Settings count at any depth."""
    assert key(shared={**SHARED, **change}) != key()


def test_inputs_companions_places_function_and_task_count() -> None:
    """Another input handle, another args beside it, another place, function or task: another key."""
    one, two = call([], []), call([], plus=2.0)
    keys = [
        call([one[0]])[0].key,
        call([one[1]])[0].key,
        call([two[0]])[0].key,
        call([one[0], two[0]])[0].key,
        call([two[0], one[0]])[0].key,
        call([one[0]], [one[0]])[0].key,
        call([one[0]], [one[0]])[1].key,
        call([one[0]], [two[0]])[0].key,
        key(),
        key(task="another"),
        key(function=other),
    ]

    assert len(set(keys)) == len(keys)


def test_a_handle_is_no_text() -> None:
    """A handle's key given as text or in a list is another argument than the handle."""
    handle = call([])[0]
    arguments: list[Any] = [handle, handle.key, ["handle", handle.key], repr(("handle", handle.key))]

    assert len({Call("task", add, [{"x": x}], {}).handles[0].key for x in arguments}) == 4


def test_other_kinds_of_argument_are_refused() -> None:
    """A tensor, a set or an object has no canonical form: a clear error, no silent key."""
    for argument in (torch.zeros(1), {1, 2}, object(), b"bytes"):
        with pytest.raises(TypeError, match=type(argument).__name__):
            Call("task", add, [{"x": argument}], {})


WORKLOAD = {"model": {"kind": "mlp", "hidden": [12, 9]}, "cut": 1, "batch_size": 8}


def task_key(seed: int = 0, fleet: dict[str, Any] | None = None, **changes: Any) -> str:
    parts = {"fleet": fleet} if fleet else {}
    session = Session(scenario(V1, workload={**WORKLOAD, **changes}, **parts), Options())
    return str(session.materials.task(session.requirements.cut(0), seed).key)


def test_task_counts_with_all_that_it_is() -> None:
    """Data, model, cut, batch size, partition, clients and seed each change every key of a task."""
    one_group = [{"name": "all", "device": {"compute": "1 GFLOP/s"}}]
    keys = [
        task_key(),
        task_key(dataset={"kind": "digits", "held_out": 0.3}),
        task_key(model={"kind": "mlp", "hidden": [12, 8]}),
        task_key(model={"kind": "cnn"}),
        task_key(cut=2),
        task_key(batch_size=9),
        task_key(partition={"kind": "dirichlet", "alpha": 1.0}),
        task_key(partition={"kind": "dirichlet", "alpha": 2.0}),
        task_key(seed=1),
        task_key(fleet={"clients": 4, "groups": one_group}),
    ]

    assert len(set(keys)) == len(keys)
    assert task_key(fleet={"clients": 3, "groups": one_group}) == keys[0]  # devices are no part of it


def test_one_changed_number_in_the_data_counts() -> None:
    """The fingerprint of a data set covers every number in it."""
    data = Session(scenario(V1), Options()).materials.data()
    changed = data.test_x.clone()
    changed[-1, 0, 7, 7] += 1e-6

    assert replace(data, fingerprint="").fingerprint == data.fingerprint
    assert replace(data, test_x=changed, fingerprint="").fingerprint != data.fingerprint


# Source text.


def test_source_of_the_functions_module_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed line anywhere in the module of a third party's function changes its keys."""
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "their_algorithm.py"
    file.write_text("RATE = 1\ndef math(task, arguments):\n    return [RATE for _ in arguments]\n")
    module = importlib.import_module("their_algorithm")
    before = key(function=module.math)
    assert key(function=importlib.reload(module).math) == before
    file.write_text("RATE = 2.5\ndef math(task, arguments):\n    return [RATE for _ in arguments]\n")
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)

    assert key(function=importlib.reload(module).math) != before


def printed(code: str, folder: Path) -> list[str]:
    """Return the words that `code` prints in a fresh process that starts in `folder`."""
    done = subprocess.run(
        [sys.executable, "-Bc", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


VERSIONS = """
import ast, json, pathlib, sys
from sflsim.algorithms import gas, mu_splitfed, splitfed_v1, splitfed_v2
from sflsim.learning.graph import lineage, own_source
from sflsim.learning.models import alexnet, mlp, resnet
import theirs

own_source.changed_since_start = lambda file: False  # the files are edited below
read, known = own_source._module, {}
own_source._module = lambda name: known[name] if name in known else known.setdefault(name, read(name))

def versions(edited=""):
    known.pop("sflsim." + edited.removesuffix(".py").replace("/", "."), None)
    for each in [*vars(own_source).values(), *vars(lineage).values(), read]:
        getattr(each, "cache_clear", lambda: None)()
    functions = {"v1": splitfed_v1.train, "v2": splitfed_v2.step, "mu": mu_splitfed.exchange,
                 "gas": gas.step, "theirs": theirs.math}
    kinds = {"alexnet": alexnet.AlexNet, "mlp": mlp.MLP, "resnet": resnet.ResNet18,
             "their layer": theirs.Layer}
    keys = {name: lineage.Call("task", each, [{"client": 1}], {}).key for name, each in functions.items()}
    return keys | {name: lineage.type_version(kind) for name, kind in kinds.items()}

def edited(text, where):
    "A comment and other docstrings, or another statement in a class or function, or at the end."
    if where == "# comments":
        docs = {node.value.lineno - 1 for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)}
        lines = [line.replace('"' * 3, '"' * 3 + "Or. ", 1) if number in docs else line
                 for number, line in enumerate(text.splitlines(keepends=True))]
        assert len(docs) > 1
        return "# what no value rests on\\n" + "".join(lines) + "\\n# nor on this"
    if not where:
        return text + "\\nCHANGED = 1\\n"
    (node,) = [node for node in ast.parse(text).body if getattr(node, "name", "") == where]
    lines, first = text.splitlines(keepends=True), node.body[0]
    lines.insert(first.end_lineno, " " * first.col_offset + "changed = 1\\n")
    return "".join(lines)

before, changed = versions(), []
for name, where in json.loads(sys.argv[1]):
    file = pathlib.Path("sflsim") / name
    text = file.read_text()
    file.write_text(edited(text, where))
    changed.append(sorted(key for key, version in versions(name).items() if version != before[key]))
    file.write_text(text)
    assert versions(name) == before
print(json.dumps(changed))
"""
MATH, MODELS, THEIRS = {"v1", "v2", "mu", "gas"}, {"alexnet", "mlp", "resnet"}, {"theirs", "their layer"}
RESTS_ON: dict[tuple[str, str], set[str]] = {
    ("clock/engine.py", ""): set(),
    ("clock/client.py", "Client"): set(),
    ("simulation/synchronous.py", ""): set(),
    ("simulation/simulation.py", "Simulation"): set(),
    ("session/session.py", ""): set(),
    ("report/style.py", ""): set(),
    # the learning plane's other rooms; a third party's math may use them
    ("learning/graph/store.py", ""): THEIRS,
    ("learning/graph/disk_store.py", ""): THEIRS,
    ("learning/graph/locks.py", ""): THEIRS,
    ("learning/learner.py", ""): THEIRS,
    ("learning/costs.py", ""): THEIRS,
    ("learning/profiling/measure.py", ""): THEIRS,
    ("learning/data/hub.py", ""): THEIRS,  # the samples' numbers are in the task's key
    ("learning/data/digits.py", ""): THEIRS,
    ("learning/data/partition.py", ""): THEIRS,
    # an algorithm's protocol and its math, in one file
    ("algorithms/mu_splitfed.py", "# comments"): set(),
    ("algorithms/mu_splitfed.py", "MuSplitFed"): THEIRS,
    ("algorithms/common/first_order.py", "FirstOrderAlgorithm"): THEIRS,
    ("algorithms/mu_splitfed.py", "exchange"): {"mu"} | THEIRS,
    ("algorithms/mu_splitfed.py", "server_steps"): {"mu"} | THEIRS,
    ("algorithms/common/first_order.py", "FirstOrder"): {"v1", "v2"} | THEIRS,
    ("learning/label_statistics.py", ""): {"gas"} | THEIRS,
    # what every value rests on
    ("learning/network/split.py", "# comments"): set(),
    ("learning/network/split.py", ""): MATH | THEIRS,
    ("learning/network/modes.py", ""): MATH | THEIRS,
    ("learning/data/base.py", ""): MATH | THEIRS,
    ("learning/data/pixels.py", ""): MATH | THEIRS,
    ("learning/optimizers.py", ""): MATH | THEIRS,
    ("learning/zeroth_order.py", ""): MATH | THEIRS,
    ("learning/calls.py", ""): MATH | THEIRS,
    ("learning/task.py", "Task"): MATH | THEIRS,
    ("learning/graph/executor.py", ""): MATH | THEIRS,
    ("learning/models/base.py", ""): MATH | MODELS | THEIRS,
    ("streams.py", ""): MATH | THEIRS,
    # models, by the key of their task
    ("learning/models/alexnet.py", ""): {"alexnet"} | THEIRS,
    ("learning/network/residual.py", ""): {"resnet"} | THEIRS,
}


def test_keys_rest_on_the_math_alone(tmp_path: Path) -> None:
    """An edit of each kind of file changes the keys of what rests on it, and no other."""
    package = tmp_path / "sflsim"
    shutil.copytree(Path(sflsim.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text("")  # a light start
    (tmp_path / "theirs.py").write_text("class Layer: ...\ndef math(task, arguments): ...\n")
    done = subprocess.run(
        [sys.executable, "-Bc", VERSIONS, json.dumps(list(RESTS_ON))],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr

    assert dict(zip(RESTS_ON, map(set, json.loads(done.stdout)), strict=True)) == RESTS_ON


def test_a_file_edited_before_its_key_is_made_counts_for_this_process_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What runs is what was imported before."""
    before = own_source.version_of_every_value.__wrapped__()
    monkeypatch.setattr(own_source, "changed_since_start", lambda file: file.name == "streams.py")

    assert own_source.version_of_every_value.__wrapped__() != before


def test_code_of_a_model_of_ours_is_in_its_tasks_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model does beside its layers' settings is told by its file."""
    before = of_code(MLP())
    monkeypatch.setattr(lineage, "version_of_own", lambda module, name: f"{module} edited".encode())

    assert of_code(MLP()) != before


def all_keys(variant: dict[str, Any]) -> list[str]:
    """Return the keys of every call of a run, in order."""
    session = RecordingSession(scenario(variant, rounds=2))
    session.run(0, 0, lambda row: None)
    return [handle.key for call in session.learner.calls for handle in call.handles]


def test_keys_are_the_same_in_another_process() -> None:
    """A whole run has the same keys in a process with another hash seed."""
    here, tests = Path(__file__).parent, Path(__file__).parents[3]
    code = f"import sys; sys.path[:0] = [{str(tests)!r}, {str(here)!r}]; import test_lineage as t"
    code += "; print(*t.all_keys(t.V1), *t.all_keys(t.MU))"

    assert printed(code, tests.parent) == [*all_keys(V1), *all_keys(MU)]


# Computed once.


def test_each_key_is_computed_once() -> None:
    """Handles asked for twice, together or later, by the same or an equal call, cost one computation."""
    executor = Watched()
    start, same = call([]), call([])
    ends = [call([start[0], same[0]])[0], call([same[0], start[0]])[0]]

    assert executor.number(ends[0]) == 3
    assert [executor.number(end) for end in ends] == [3, 3]
    assert executor.computed == {"add": 2}


def test_equal_calls_resolved_together_are_computed_once() -> None:
    """Two call objects with one key count as one, also before either is known."""
    executor = Watched()
    start, same = call([], plus=5.0), call([], plus=5.0)
    executor.resolve([start[0], same[0], call([start[0]])[0], call([same[0]])[0]])

    assert executor.computed == {"add": 2}


def test_ready_calls_reach_the_executor_together() -> None:
    """All calls whose inputs are known are handed over as one batch; then those that they made ready."""
    executor = Watched()
    first = [call([], plus=float(number))[0] for number in range(3)]
    second = [call([handle], plus=0.5)[0] for handle in first]
    late = call([second[0]], plus=0.25)[0]
    total = call([*second, late])[0]

    assert executor.number(total) == 0.5 + 1.5 + 2.5 + 0.75 + 1
    assert [{h.key for c in batch for h in c.handles} for batch in executor.batches] == [
        {handle.key for handle in first},
        {handle.key for handle in second},
        {late.key},
        {total.key},
    ]


def test_a_deep_chain_is_no_recursion() -> None:
    """Five thousand calls one after another resolve."""
    executor, handle = Watched(), call([])[0]
    for _ in range(5000):
        (handle,) = call([handle])

    assert executor.number(handle) == 5001


def test_numbers_are_kept_and_the_oldest_weights_let_go() -> None:
    """The store holds weights up to its limit, those used last, and every plain number."""
    store = MemoryStore(limit_bytes=100)
    for name in "abc":
        store.put(name, {"client": torch.zeros(10)})
        store.put(f"{name} accuracy", (0.5, 1.0))
        store.get("a")

    assert [name for name in "abc" if store.get(name) is not None] == ["a", "c"]
    assert store.held_bytes == 80
    assert all(store.get(f"{name} accuracy") == (0.5, 1.0) for name in "abc")


def evaluations(session: Session, number: int = 0) -> tuple[Outcome, list[tuple[float, ...]]]:
    outcome = session.run(number, 0, lambda row: None)
    return outcome, [(row.accuracy, row.loss) for row in outcome.evaluations]


@pytest.mark.parametrize("variant", [V1, V2, MU], ids=lambda variant: variant["algorithm"])
def test_evicted_values_are_recomputed_to_the_same_bits(variant: dict[str, Any]) -> None:
    """A store that keeps one model: a second variant computes all of it again, and gets the same."""
    variants = [{**variant, "name": name} for name in ("one", "two")]
    session = RecordingSession(scenario(*variants, rounds=4))
    session.store = MemoryStore(limit_bytes=1)
    first, models = evaluations(session, 0), session.learner.models
    second, again = evaluations(session, 1), session.learner.models

    assert {**first[0].computed, "evaluate": 0} == {**second[0].computed, "evaluate": 0}
    assert first[1] == second[1]
    for one, two in zip(models, again, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


# Shared between variants and scenarios.


def session_with(store: MemoryStore, *variants: dict[str, Any], **parts: Any) -> Session:
    session = Session(scenario(*variants, **parts), Options())
    session.store = store
    return session


@pytest.mark.parametrize("variant", [V1, MU], ids=lambda variant: variant["algorithm"])
def test_variants_with_equal_math_compute_once(variant: dict[str, Any]) -> None:
    """A variant that differs in its name only computes nothing."""
    session = session_with(MemoryStore(), {**variant, "name": "one"}, {**variant, "name": "two"})
    first, second = evaluations(session, 0), evaluations(session, 1)

    assert sum(first[0].computed.values()) > 0
    assert second[0].computed == {}
    assert second[1] == first[1]


@pytest.mark.parametrize("variant", [V1, MU], ids=lambda variant: variant["algorithm"])
def test_scenarios_that_differ_in_time_only_train_once(variant: dict[str, Any]) -> None:
    """Other devices, links, stragglers and server: another clock, the same training, nothing computed."""
    store = MemoryStore()
    before = evaluations(session_with(store, variant))
    groups = [
        {"name": f"speed-{number}", "count": 1, "device": {"compute": "7 MFLOP/s"}, "link": "wifi"}
        for number in range(3)
    ]
    straggler = {"kind": "exponential", "mean": "2 s"}
    fleet = {"clients": 3, "groups": groups, "straggler": straggler}
    after = evaluations(session_with(store, variant, fleet=fleet, server={"slots": 1}))

    assert after[0].time_s != before[0].time_s
    assert after[0].computed == {}
    assert after[1] == before[1]


def test_longer_runs_go_on_where_shorter_ones_ended() -> None:
    """Five rounds after three compute two; a variant that differs in tau shares the start alone."""
    store = MemoryStore()
    assert evaluations(session_with(store, MU, rounds=3))[0].computed["exchange"] == 3
    assert evaluations(session_with(store, MU, rounds=5))[0].computed["exchange"] == 2
    other_tau = evaluations(session_with(store, {**MU, "tau": 3}, rounds=3))[0].computed
    assert other_tau == {"exchange": 3, "average": 3, "evaluate": 3}


def test_arrival_orders_share_what_they_have_in_common() -> None:
    """SplitFed V2 under another clock that keeps the order of arrival computes nothing; else it computes."""
    store = MemoryStore()
    before = evaluations(session_with(store, V2))
    faster = evaluations(session_with(store, V2, server={"compute": "60 MFLOP/s", "slots": 2}))
    groups = [{"name": "speed-0", "count": 3, "device": {"compute": "3 MFLOP/s"}}]
    another = evaluations(session_with(store, V2, fleet={"clients": 3, "groups": groups}))

    assert faster[0].time_s != before[0].time_s
    assert faster[0].computed == {}
    assert another[0].computed["step"] == 18
    assert another[1] != before[1]


# Never computed.


def test_work_that_counts_for_nothing_is_never_computed() -> None:
    """Of three trainings that are named, the two that are averaged are computed."""
    session = RecordingSession(scenario(V1))
    session.run(0, 0, lambda row: None)
    learner = Learner(session.learner.task, MemoryStore())
    function = next(c for c in functions(session) if c.__name__ == "train")
    shared = next(c.shared for c in session.learner.calls if c.function == "train")
    start = learner.initial()
    arguments = [{"start": start, "client": m, "cut": 1, "batches": [(m, 0)]} for m in range(3)]
    trained = [learner.call(function, [args], shared)[0] for args in arguments]
    together = {"model": start, "models": trained[:2], "clients": [0, 1]}
    learner.executor.resolve(learner.call(average, [together], {"weighting": "uniform"}))

    assert learner.executor.computed == {"initial": 1, "train": 2, "average": 1}


def functions(session: RecordingSession) -> list[Any]:
    return [call.handles[0].call.function for call in session.learner.calls]


def test_a_round_that_time_cuts_off_is_never_computed() -> None:
    """SplitFed V2 stopped in its third round: the steps of that round are named, and stay names."""
    whole = Session(scenario(V2, rounds=3), Options()).run(0, 0, lambda row: None)
    stop_s = (whole.evaluations[2].time_s + whole.evaluations[3].time_s) / 2
    session = RecordingSession(scenario(V2, stop={"time": f"{stop_s} s"}))
    outcome = session.run(0, 0, lambda row: None)

    assert (outcome.reason, outcome.rounds) == ("time", 2)
    assert sum(call.function == "step" for call in session.learner.calls) > 12
    assert outcome.computed["step"] == 12


# Divergence.


@pytest.mark.parametrize("every", ["1 round", "4 rounds", "50 rounds"])
@pytest.mark.parametrize(
    "variant",
    [
        {**V1, "client_optimizer": {"lr": 1e4}, "server_optimizer": {"lr": 1e4}},
        {**MU, "eta_s": 10.0, "eta_c": 10.0, "eta_g": 1.0},
    ],
    ids=["splitfed-v1", "mu-splitfed"],
)
def test_divergence_names_the_first_bad_round(variant: dict[str, Any], every: str) -> None:
    """However seldom the model is evaluated, the round is the first whose loss or weights are not finite."""
    session = RecordingSession(scenario(variant, rounds=50, evaluate={"every": every}))
    outcome = session.run(0, 0, lambda row: None)
    by_round = Session(scenario(variant, rounds=50), Options())

    assert outcome.status == "diverged"
    assert outcome.reason == by_round.run(0, 0, lambda row: None).reason
    assert outcome.reason != "in round 1"
    assert all(torch.isfinite(torch.tensor(row.loss)) for row in outcome.evaluations)


def test_model_repr_is_its_settings() -> None:
    """A task's key rests on the repr of the model's Config: it must name every field."""
    fields = "freeze=(), weights=None, weights_strict=True, kind='mlp', hidden=(3, 4), adapters=None"
    assert repr(MLP(hidden=(3, 4))) == f"MLP({fields})"
