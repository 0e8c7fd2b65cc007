"""The tables and the manifest of a run, from the outcomes of its variants and seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from sflsim.provenance import fingerprint, provenance, versions
from sflsim.record import tables
from sflsim.rows import ClientWork, RunRow
from sflsim.scenario.files import contents
from sflsim.scenario.schema import Scenario
from sflsim.session import Outcome, has_rounds

FRAMES = ("spans", "link_throughput", "evaluations", "clients", "runs")


def frames_of(scenario: Scenario, outcomes: Iterable[Outcome]) -> dict[str, pd.DataFrame]:
    """Return the tables of a run by name, with the outcomes in the order given."""
    algorithms = {variant.name: variant.algorithm for variant in scenario.variants}
    parts = [_frames(outcome, algorithms[outcome.variant]) for outcome in outcomes]
    return {name: tables.joined(name, [part[name] for part in parts]) for name in FRAMES}


def _frames(outcome: Outcome, algorithm: str) -> dict[str, pd.DataFrame]:
    def table(name: str, rows: Sequence[Any], **columns: Sequence[Any]) -> pd.DataFrame:
        return tables.of_rows(name, outcome.variant, outcome.seed, rows, **columns)

    clients = table("clients", outcome.clients, **_client_work(outcome))
    return {
        "spans": table("spans", outcome.spans, round=outcome.rounds_of_spans()),
        "link_throughput": table("link_throughput", outcome.link_throughput),
        "evaluations": table("evaluations", outcome.evaluations),
        "clients": clients,
        "runs": table("runs", [_run_row(outcome, algorithm, clients)]),
    }


def _client_work(outcome: Outcome) -> dict[str, list[Any]]:
    """Return what the clients did, by column, in their order."""
    by_client, nothing = outcome.work(), ClientWork()
    work = [by_client.get(client.client, nothing) for client in outcome.clients]
    columns = {name: [getattr(row, name) for row in work] for name in ClientWork._fields}
    columns["energy_j"] = [
        row.active_energy_j + client.idle_j for row, client in zip(work, outcome.clients, strict=True)
    ]
    return columns


def _run_row(outcome: Outcome, algorithm: str, clients: pd.DataFrame) -> RunRow:
    """Return the row of one outcome in the table of runs."""
    return RunRow(
        algorithm=algorithm,
        status=outcome.status,
        reason=outcome.reason,
        rounds=outcome.rounds,
        time_s=outcome.time_s,
        server_busy_s=outcome.server_busy_s,
        client_memory_bytes=outcome.client_memory_bytes,
        server_memory_bytes=outcome.server_memory_bytes,
        dropped=int(clients["dropped"].sum()),
        wasted_s=clients["wasted_s"].sum(),
        wasted_bytes=clients["wasted_bytes"].sum(),
        left_out=outcome.left_out,
    )


def manifest_of(scenario: Scenario, outcomes: Sequence[Outcome], completed: bool) -> dict[str, Any]:
    """Return what made a run, and what it took."""
    files = contents(scenario)
    calls = sum((Counter(outcome.computed) for outcome in outcomes), Counter())
    return {
        "status": "completed" if completed else "interrupted",
        "scenario": fingerprint(scenario.to_yaml(), files),
        "files": files,
        "versions": versions(),
        "provenance": provenance(),
        "groups": dict(zip(scenario.fleet.group_names(), scenario.fleet.group_counts(), strict=True)),
        "without_rounds": [one.name for one in scenario.variants if not has_rounds(one)],
        "batteries": batteries_of(scenario),
        "computed_calls": dict(sorted(calls.items())),
        "values_from_cache": sum(outcome.read for outcome in outcomes),
        "real_s_by_run": {
            f"{outcome.variant} seed {outcome.seed}": round(outcome.real_s, 3) for outcome in outcomes
        },
    }


def batteries_of(scenario: Scenario) -> dict[str, dict[str, Any]]:
    """Return the capacity and the number of devices of each group that has batteries."""
    fleet = scenario.fleet
    groups = zip(fleet.group_names(), fleet.groups, fleet.group_counts(), strict=True)
    return {
        name: {"capacity_j": group.device.battery, "devices": count}
        for name, group, count in groups
        if group.device.battery is not None
    }
