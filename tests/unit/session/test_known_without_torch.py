"""What a store on disk knows is found by a later process without torch; what has changed is computed anew."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import data, read

from sflsim.learning.config import Workload
from sflsim.learning.graph.disk_store import DiskStore
from sflsim.session import Options
from sflsim.session.derived import layout
from sflsim.session.task_facts import facts_of_network, facts_of_task, remembered

RUN = """
import sys
import sflsim
from sflsim.learning import learner
learner.FORGET_EVERY = 1  # as in a long run
run = sflsim.simulate(sflsim.load_scenario(sys.argv[1]), cache=sys.argv[2])
print([len(run.runs), "torch" in sys.modules])
for name in ("evaluations", "spans", "clients"):
    print(getattr(run, name).to_csv(float_format=None))
"""
FACTS = """
import sys
import sflsim
from sflsim.session import Options
from sflsim.session.task_facts import facts_of_task
print(facts_of_task(sflsim.load_scenario(sys.argv[1]), Options(), 1, 0, 8, None))
"""
VARIANTS: list[dict[str, Any]] = [
    {"algorithm": "splitfed-v1"},
    {"algorithm": "splitfed-v1", "name": "coded", "compression": {"activation": "int8"}},
    {"algorithm": "mu-splitfed", "tau": "adaptive"},
]


def write(folder: Path, **changes: Any) -> Path:
    workload = {"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": 8, "costs": {}}
    content = data(workload=workload, variants=VARIANTS, stop={"rounds": 3}, seeds=[0, 1], **changes)
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def run(scenario: Path, cache: Path) -> tuple[str, str]:
    """Return what a process of its own says of a run: whether it has loaded torch, and the tables."""
    head, _, tables = processed(RUN, scenario, cache).partition("\n")
    return head, tables


def processed(code: str, *arguments: object) -> str:
    """Return what a process of its own prints; its environment is one of the facts of a task."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).stdout  # fmt: skip


def test_a_known_run_loads_no_torch(tmp_path: Path) -> None:
    """Costs are derived, a codec is used, times differ: still the tables of a run without a store."""
    first = run(write(tmp_path), tmp_path / "cache")
    again = run(write(tmp_path), tmp_path / "cache")
    assert (first[0], again[0]) == ("[6, True]", "[6, False]")
    assert again[1] == first[1]
    variants = [
        one for one in VARIANTS if one["algorithm"] == "splitfed-v1"
    ]  # adaptive: another tau, other math
    slower = write(tmp_path, server={"compute": "3 FLOP/s", "slots": 1})
    content = {**yaml.safe_load(slower.read_text()), "variants": variants}
    slower.write_text(yaml.safe_dump(content))
    retimed = run(slower, tmp_path / "cache")
    assert retimed[0] == "[4, False]"
    assert retimed[1] == run(slower, tmp_path / "other")[1]


@pytest.mark.slow
def test_what_is_missing_is_computed_all_the_same(tmp_path: Path) -> None:
    """Torch is loaded where a value is missing, and where the key that was kept is wrong."""
    scenario, cache = write(tmp_path), tmp_path / "cache"
    alone = run(scenario, tmp_path / "alone")[1]
    run(scenario, cache)
    longer = read({**yaml.safe_load(scenario.read_text()), "stop": {"rounds": 4}})
    path = tmp_path / "longer.yaml"
    path.write_text(longer.to_yaml())
    head, tables = run(path, cache)
    assert head == "[6, True]"
    assert tables == run(path, tmp_path / "anew")[1]

    store, facts = DiskStore(cache), processed(FACTS, scenario).strip()
    assert store.get(facts) is not None
    store.remove([facts])
    store.put(facts, (1.0, 2.0, 3.0, 4.0))
    store.close()
    head, tables = run(scenario, cache)
    assert (head, tables) == ("[6, True]", alone)
    assert run(scenario, cache) == ("[6, False]", alone)


@pytest.mark.parametrize("forged", [(1.0,), (math.nan,) * 4, (math.inf,) * 8, (-1.0,) * 4, (0.5,) * 4])
def test_what_has_another_form_is_a_miss(forged: tuple[float, ...], tmp_path: Path) -> None:
    """Forged numbers are no key, and a layout is derived anew."""
    workload = Workload.model_validate({"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": 7})
    expected = layout(workload, 1)
    store, facts = DiskStore(tmp_path), facts_of_network("layout", workload, 1)
    assert facts is not None
    store.put(facts, forged)
    assert remembered(store, facts) is None
    assert layout(workload, 1, store) == expected
    store.close()


def test_facts_tell_apart_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change of what a key rests on changes the facts; a change of the clock does not."""
    content = data(workload={"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": 8})

    def facts(cut: int = 1, seed: int = 0, threads: int = 1, **changes: Any) -> str | None:
        return facts_of_task(read({**content, **changes}), Options(threads=threads), cut, seed, 8, None)

    def workload(**changes: Any) -> dict[str, Any]:
        return {"workload": {**content["workload"], **changes}}

    usual = facts()
    others = [
        *(facts(cut=2), facts(seed=1), facts(threads=2)),
        facts(**workload(model={"kind": "mlp", "hidden": [9]})),
        facts(**workload(dataset={"kind": "digits", "held_out": 0.3})),
        facts(**workload(partition={"kind": "dirichlet", "alpha": 1.0})),
        facts(
            fleet={"clients": 3, "participants": 2, "groups": [{**content["fleet"]["groups"][0], "count": 3}]}
        ),
    ]
    assert None not in {usual, *others}
    assert len({usual, *others}) == len(others) + 1
    assert facts(server={"compute": "3 FLOP/s", "slots": 1}) == usual
    assert facts(**workload(model="resnet-18", dataset="cifar-10", cut=1)) is None


def test_facts_of_costs_follow_batch_and_model() -> None:
    def facts(**changes: Any) -> str | None:
        content = {"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": 8, **changes}
        return facts_of_network("costs", Workload.model_validate(content), 1)

    assert facts() == facts(partition={"kind": "dirichlet", "alpha": 1.0})
    assert len({facts(), facts(batch_size=9), facts(model={"kind": "mlp", "hidden": [9]})}) == 3
