"""The report of a run: its tables as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sflsim.formatting import (
    accuracy_text,
    byte_unit,
    counted,
    in_one_unit,
    joule_unit,
    mean_text,
    seconds_text,
    time_unit,
)
from sflsim.metrics.attribution import of_whom, where_time_goes
from sflsim.metrics.summary import early_ends, summarize
from sflsim.metrics.tables import RUN_COLUMNS, variants_of, why_no_spans, with_columns
from sflsim.provenance import described
from sflsim.report.attribution import COLORS, LABELS
from sflsim.report.html import Section, escape, folded, page, short, table_html
from sflsim.report.html_curves import curves, looks
from sflsim.report.html_fleet import fleet
from sflsim.report.html_gantt import gantt

ACCURACY = (
    "Mean over seeds; the band spans the lowest and the highest seed, a cross marks a seed that diverged. "
    "Drag the dashed line or type a target: the table says what each variant took to reach it."
)
GANTT = (
    "Who computes, sends, waits and serves. The upper half of a client's row shows its processor, the lower "
    "half its radio. A round of an asynchronous algorithm is the time "
    "up to an update of the global model, and all that happens in it."
)
TIME = (
    "Mean time of a participant's round. Where activities overlap, an instant goes to the first of client "
    "compute, slowdown, uplink, downlink, absence, latency, server, waiting: what is hidden behind work is "
    "free. Where no rounds hold the clients together: of a client's contribution, by what it waited for."
)
FLEET = "Devices by speed and bandwidth; alike devices are one point, its area their number."
SUMMARY = "Whole runs, mean over seeds; client figures are sums over all clients, energy while taking part."


def run_report(
    tables: Mapping[str, pd.DataFrame],
    *,
    name: str,
    description: str = "",
    scenario: str = "",
    manifest: Mapping[str, Any] | None = None,
    target: float | None = None,
) -> str:
    """Return the page of a run from `tables` (evaluations, runs, spans, clients), as far as they have data.

    `scenario` is the resolved scenario in YAML. Equal tables and manifest give equal pages.

    Raises:
        SflsimError: plotly is not installed.
    """
    evaluations, runs, spans, clients = (
        tables.get(part) for part in ("evaluations", "runs", "spans", "clients")
    )
    names = variants_of(runs, evaluations, spans)
    data = {
        "variants": looks(names),
        "accuracy": curves(evaluations, runs, target),
        "gantt": gantt(spans, names),
        "time": time_bars(where_time_goes(spans), names, of_whom(spans)),
        "fleet": fleet(clients),
    }
    nothing = "Nothing was learned in this run, so there is no accuracy."
    no_spans = _sentence(f"not drawn: {why_no_spans(manifest or {})}")
    sections = [
        _drawn(data, "accuracy", "Accuracy", ACCURACY, nothing),
        Section("summary", "Summary", SUMMARY, summary_html(evaluations, runs, clients)),
        _drawn(data, "gantt", "Rounds in detail", GANTT, no_spans),
        _drawn(data, "time", "Where the time goes", TIME, no_spans),
        _drawn(data, "fleet", "Fleet", FLEET, "This run has no record of its devices' bandwidth."),
        *origin(scenario, manifest),
    ]
    return page(name, description, _facts(names, runs, clients, manifest or {}), sections, data)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _drawn(data: Mapping[str, Any], id: str, title: str, lead: str, nothing: str) -> Section:
    """Return a section that a script fills, or one that says why there is nothing to draw."""
    return Section(id, title, lead, drawn=True) if data[id] else Section(id, title, nothing)


def time_bars(means: pd.DataFrame, names: list[str], whose: str) -> dict[str, Any] | None:
    """Return mean seconds by cause, one number per variant in each, from a table with a row per variant.

    `whose` says what the means are of.
    """
    if means.empty:
        return None
    shown = [part for part in LABELS if means[part].max() > 1e-9 * means.sum(axis=1).max()]
    return {
        "variants": [names.index(str(name)) for name in means.index],
        "whose": whose,
        "parts": [
            {
                "label": LABELS[part],
                "color": COLORS[part],
                "seconds": [short(seconds) for seconds in means[part]],
            }
            for part in shown
        ],
    }


def summary_html(
    evaluations: pd.DataFrame | None, runs: pd.DataFrame | None, clients: pd.DataFrame | None
) -> str:
    """Return the table of whole runs, one row per variant, and a line for each run that ended early."""
    summary = summarize(evaluations, runs).set_index("variant")
    work = with_columns(clients, ("variant", "seed", "energy_j"))
    spent_j = work.groupby(["variant", "seed"], sort=False)["energy_j"].sum(min_count=1)
    whole = summary.assign(energy_j=spent_j.groupby("variant").mean().reindex(summary.index))
    accuracies = [
        accuracy_text(mean, std)
        for mean, std in zip(summary["accuracy_mean"], summary["accuracy_std"], strict=True)
    ]
    columns: dict[str, list[str]] = {
        "variant": [str(name) for name in summary.index],
        "status": [str(status) for status in summary["status"]],
        "seeds": [str(seeds) for seeds in summary["seeds"]],
        "final accuracy (%)": accuracies,
        "rounds": [mean_text(float(rounds)) for rounds in summary["rounds"]],
    }
    for column, header, unit_of in (
        ("time_s", "time", time_unit),
        ("uplink_bytes", "uplink", byte_unit),
        ("downlink_bytes", "downlink", byte_unit),
        ("client_busy_s", "client busy", time_unit),
        ("server_busy_s", "server busy", time_unit),
        ("energy_j", "energy", joule_unit),
        ("peak_memory_bytes", "client memory", byte_unit),
        ("wasted_s", "wasted", time_unit),
    ):
        values = whole[column].astype(float)
        if column == "wasted_s" and not values.max() > 0:
            continue
        header, texts = in_one_unit(header, values, unit_of)
        columns[header] = texts
    ends = [f"<p>{escape(line)}</p>" for line in early_ends(with_columns(runs, RUN_COLUMNS))]
    table = table_html(list(columns), list(zip(*columns.values(), strict=True)), text_columns=2)
    return "".join([table, *ends])


def origin(scenario: str, manifest: Mapping[str, Any] | None) -> list[Section]:
    """Return the section on where a result comes from: in words, the resolved scenario, the manifest."""
    body = "".join(f"<p>{escape(line)}</p>" for line in described(manifest or {}))
    body += folded("Resolved scenario (every default written out)", scenario) if scenario else ""
    if manifest:
        text = json.dumps(manifest, indent=2, sort_keys=True, default=str, ensure_ascii=False)
        body += folded("Manifest (versions, settings, what was computed)", text)
    return [Section("origin", "Origin", "", body)] if body else []


def _facts(
    names: list[str],
    runs: pd.DataFrame | None,
    clients: pd.DataFrame | None,
    manifest: Mapping[str, Any],
) -> list[str]:
    seeds = with_columns(runs, ("seed",))["seed"].nunique()
    devices = with_columns(clients, ("client",))["client"].nunique()
    facts = [
        counted(len(names), "variant"),
        counted(seeds, "seed"),
        f"{counted(devices, 'client')} took part",
    ]
    if manifest.get("status") not in (None, "completed"):
        facts.append(str(manifest["status"]))
    if manifest.get("timing_only"):
        facts.append("timing only: nothing was learned")
    real_s = manifest.get("real_s")
    if isinstance(real_s, (int, float)):
        facts.append(f"computed in {seconds_text(float(real_s))}")
    return facts
