"""The rows that a clock records are the rows of the tables, also in folders of earlier versions."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from support import data, read

from sflsim import Run, simulate
from sflsim.record import tables
from sflsim.rows import ClientRow, ClientSetup, ClientWork, Evaluation, LinkThroughput, RunRow, Span
from sflsim.session import Outcome

ROWS: dict[str, type[NamedTuple]] = {
    "spans": Span,
    "link_throughput": LinkThroughput,
    "evaluations": Evaluation,
    "clients": ClientRow,
    "runs": RunRow,
}


@pytest.fixture(scope="module")
def run() -> Run:
    """Return a run on the clock alone, of devices that draw power."""
    power = {"idle": "2 W", "compute": "6 W", "send": "3 W", "receive": "3 W"}
    group = {"name": "any", "device": {"compute": "8 FLOP/s", "power": power}, "link": "wifi"}
    fleet = {"clients": 2, "groups": [group]}
    return simulate(read(data(fleet=fleet)), timing_only=True)


@pytest.mark.parametrize("name", tables.COLUMNS)
def test_columns_are_the_fields_of_the_rows(name: str) -> None:
    """Each table has variant, seed and the fields of its rows, in their order."""
    assert tuple(tables.COLUMNS[name]) == ("variant", "seed", *ROWS[name]._fields)


def test_a_client_is_its_setup_and_its_work() -> None:
    """No figure of a client is declared that nothing gives, and none is given that the table lacks."""
    given = {*ClientSetup._fields, *ClientWork._fields} - {"active_energy_j"}
    assert given | {"energy_j"} == set(ClientRow._fields)


def test_a_table_of_rows_is_the_rows() -> None:
    """Rows go into their table by name; a column given beside them takes the place of theirs."""
    rows = [Span("a-0", "compute", 0.0, 1.0, 1, "a-0", flop=3.0), Span("server", "queue", 1.0, 2.0, 1, "a-0")]
    table = tables.of_rows("spans", "v", 7, rows, round=[4, 5])
    assert [Span(*row) for row in table[list(Span._fields)].itertuples(index=False, name=None)] == [
        row._replace(round=number) for row, number in zip(rows, (4, 5), strict=True)
    ]
    assert (set(table["variant"]), set(table["seed"])) == ({"v"}, {7})
    pd.testing.assert_frame_equal(tables.of_rows("spans", "v", 7, []), tables.table("spans", []))


def test_active_energy_and_idle_energy_are_all_energy(run: Run) -> None:
    """`energy_j` is the whole of a client everywhere; of a span `active_energy_j` is above idling."""
    above_j = run.spans.groupby("client")["active_energy_j"].sum()
    clients = run.clients.set_index("client")
    assert above_j.sum() > 0
    whole_j = above_j.reindex(clients.index) + clients["idle_j"]
    assert clients["energy_j"].tolist() == pytest.approx(whole_j.tolist())
    assert "energy_j" not in run.spans


def test_a_folder_of_an_earlier_version_is_read(run: Run, tmp_path: Path) -> None:
    """Its spans have `energy_j` above idling, which is read as `active_energy_j`."""
    run.save(tmp_path / "run")
    file = tmp_path / "run" / "spans.parquet"
    pd.read_parquet(file).rename(columns={"active_energy_j": "energy_j"}).to_parquet(file)
    loaded = Run.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.spans, run.spans)
    pd.testing.assert_frame_equal(loaded.clients, run.clients)


def test_outcomes_cross_to_another_process_with_their_spans() -> None:
    """They are sent by column and come back as named rows."""
    spans = [Span("a-0", "compute", 0.0, 1.0, 1, "a-0"), Span("a-0", "wait", 1.0, 2.0, 1, "a-0", flop=2.0)]
    for sent in (Outcome("v", 0, spans=spans), Outcome("v", 0)):
        arrived = pickle.loads(pickle.dumps(sent))
        assert arrived == sent
        assert all(type(span) is Span for span in arrived.spans)
