"""What every cut and algorithm of a scenario needs in memory, and which devices hold it.

Nothing is trained and no weights are touched.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import pandas as pd

from sflsim.algorithms.common.unsplit import Unsplit
from sflsim.errors import Problem, ScenarioError, SflsimError
from sflsim.learning.config import Workload
from sflsim.learning.costs import FOLLOWS, CostOverrides, Costs
from sflsim.registry import algorithm_of
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Session
from sflsim.simulation.base import Algorithm, AlgorithmConfig

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

CUTS = (
    "cut", "last_block", "batch_size", "precision", "client_parameters_bytes", "client_frozen_bytes",
    "saved_bytes", "live_bytes", "activation_bytes", "server_parameters_bytes",
)  # fmt: skip
NEEDS = (
    "variant", "algorithm", "cut", "last_block", "batch_size", "precision", "client_bytes",
    "client_kept_bytes", "server_bytes", "server_least_bytes", "server_replicas", "too_small",
)  # fmt: skip
WHOLE = "whole model"
SHOWN_COSTS = {
    key for key in CostOverrides.model_fields if not key.endswith(("forward", "backward", "labels", "scalar"))
}
"""Keys of `workload.costs` on which figures of the tables rest."""


@dataclass(frozen=True)
class Memory:
    """Two tables: `cuts`, what a cut means whatever the algorithm; `needs`, peaks by variant and cut.

    `cuts`: the client part's parameters and frozen weights, what it saves for backward, the most
    that is alive in its forward pass, the activation it sends, the server part's parameters.
    `needs`: peak of a client, the same where gradients are kept until the next backward pass begins
    (`zero_grad` right before it), the server's models with all participants of a round served at
    once, the least that it can do with, how many participants the scenario's `server.memory` serves
    at a time (NaN: any number), and the groups whose devices hold less.
    """

    cuts: pd.DataFrame
    needs: pd.DataFrame
    participants: int
    """Of a round; what is asked beyond them (over_selection) is in the needs."""
    server_bytes: float | None
    """`server.memory` of the scenario."""
    overridden: bool
    """Whether figures of the scenario's `workload.costs` stand in place of the model's."""


def memory(
    scenario: Scenario,
    *,
    cuts: Collection[int] | None = None,
    precision: str = "fp32",
    batch_size: int | None = None,
) -> Memory:
    """Return what the scenario's variants need at every cut of its model, or at some of them.

    `precision` is that of weights, gradients, optimizer states and activations; `batch_size` stands
    in place of the scenario's.

    Raises:
        SflsimError: the precision or a cut is unknown.
        ScenarioError: `workload.costs` fixes figures that cannot follow cut, batch size or precision.
    """
    _one_of("precision", precision, get_args(Precision))
    workload = scenario.workload
    _refuse_fixed_costs(scenario, cuts, precision, batch_size)
    if batch_size is not None:
        workload = workload.model_copy(update={"batch_size": batch_size})
    names = list(workload.model.block_names)[:-1]
    possible = range(1, len(names) + 1)
    for cut in cuts or ():
        _one_of("cuts", cut, possible)
    costs = _costs(workload, sorted(cuts or possible), precision)
    about = (workload.mean_batch_size, precision)
    held = [_cut_row(cut, names[cut - 1], about, of_cut) for cut, of_cut in costs.items()]
    needs = [
        row for variant in scenario.variants for row in _need_rows(variant, names, about, costs, scenario)
    ]
    return Memory(
        pd.DataFrame(held, columns=list(CUTS)),
        pd.DataFrame(needs, columns=list(NEEDS)),
        scenario.fleet.participants_per_round,
        scenario.server.memory,
        any(figure is not None for figure in workload.costs.model_dump().values()),
    )


def _refuse_fixed_costs(
    scenario: Scenario, cuts: Collection[int] | None, precision: str, batch_size: int | None
) -> None:
    """Refuse tables for a cut, batch size or precision that given costs cannot follow."""
    workload = scenario.workload
    names = list(workload.model.block_names)
    cut = names.index(workload.cut) + 1 if workload.cut in names else workload.cut
    given = {key for key, figure in workload.costs.model_dump().items() if figure is not None} & SHOWN_COSTS
    other_cuts = sorted(set(cuts or range(1, len(names))) - {cut})
    new_batch = batch_size not in (None, workload.mean_batch_size)
    batch = f"a batch of {workload.mean_batch_size}"
    asked = [
        (FOLLOWS["cut"] if other_cuts else set(), f"cut {cut}", "other cuts", f"--cut {cut} (cuts=[{cut}])"),
        (FOLLOWS["batch_size"] if new_batch else set(), batch, f"a batch of {batch_size}", batch),
        (given if precision != "fp32" else set(), "fp32", precision, "fp32"),
    ]
    problems = [
        Problem(
            "workload.costs",
            f"costs that are fixed for {known}: {_keys(given & keys)}",
            f"for {wanted}, costs that are derived from the model",
            f"ask for {instead}, or derive all costs: --set 'workload.costs={{}}'",
        )
        for keys, known, wanted, instead in asked
        if given & keys
    ]
    if problems:
        raise scenario.located(ScenarioError(problems))


def _keys(keys: Collection[str]) -> str:
    return ", ".join(key for key in CostOverrides.model_fields if key in keys)


def left_out(scenario: Scenario) -> list[str]:
    """Return a line for every variant that has to do without some groups of devices (on_oom: exclude)."""
    needs = Session(scenario, Options(timing_only=True)).requirements
    lines = []
    for number, variant in enumerate(scenario.variants):
        groups = needs.left_out(number)
        if groups:
            lines.append(f"{variant.name}: left out for want of memory: {', '.join(groups)}")
    return lines


def _one_of(name: str, found: object, allowed: Sequence[Any] | range) -> None:
    if found not in allowed:
        raise SflsimError(f"{name}: found {found!r}; allowed: {', '.join(map(str, allowed))}")


def _costs(workload: Workload, cuts: Sequence[int], precision: str) -> dict[int, Costs]:
    """Return the costs of each cut; what they have in common is derived once."""
    given = workload.costs.complete()
    if given is not None:
        return dict.fromkeys(cuts, given)
    from sflsim.learning.profiling.measure import workload_costs

    derived = workload_costs(workload, cuts, DTYPES[precision])
    return {cut: workload.costs.applied(of_cut) for cut, of_cut in derived.items()}


def _cut_row(cut: int, block: str, about: tuple[int, str], costs: Costs) -> tuple[Any, ...]:
    return (
        cut, block, *about, costs.client_model_bytes, costs.client_frozen_bytes, costs.client_saved_bytes,
        costs.client_live_bytes, costs.activation_bytes, costs.server_model_bytes,
    )  # fmt: skip


def _need_rows(
    variant: AlgorithmConfig,
    names: Sequence[str],
    about: tuple[int, str],
    costs: dict[int, Costs],
    scenario: Scenario,
) -> list[tuple[Any, ...]]:
    """Return a row for every cut; one alone for algorithms that do not cut the model."""
    algorithm: Algorithm = algorithm_of(variant)(variant)
    whole, fleet = isinstance(algorithm, Unsplit), scenario.fleet
    rows = []
    for cut, of_cut in costs.items():
        client_bytes = algorithm.client_memory_bytes(of_cut)
        small = ", ".join(fleet.group_names()[place] for place in fleet.too_small(client_bytes))
        where = (0, WHOLE) if whole else (cut, names[cut - 1])
        kept = replace(of_cut, client_step_bytes=None, whole_step_bytes=None)
        peaks = (client_bytes, algorithm.client_memory_bytes(kept))
        server = _server_needs(algorithm, of_cut, scenario)
        rows.append((variant.name, variant.algorithm, *where, *about, *peaks, *server, small))
        if whole:
            break
    return rows


def _server_needs(algorithm: Algorithm, costs: Costs, scenario: Scenario) -> tuple[float, float, float]:
    """Return the server's bytes with everybody served at once, the least, and its places (NaN: enough)."""
    participants = scenario.fleet.participants_per_round
    places = algorithm.server_replicas(costs, participants, scenario.server.memory)
    return (
        algorithm.server_memory_bytes(costs, participants),
        algorithm.server_least_bytes(costs, participants),
        math.nan if places is None else places,
    )
