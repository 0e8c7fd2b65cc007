"""Other simulators, where they are installed, compute the same ends of messages and of the server's jobs."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from support import imported

STUDY = Path(__file__).parents[2] / "analysis" / "independent_clocks.py"


@pytest.mark.slow
@pytest.mark.parametrize(("module", "simulator"), [("simgrid", "SimGrid"), ("ciw", "Ciw")])
def test_ends_are_equal(module: str, simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(module, reason=f"needs {simulator}, see analysis/independent_clocks.py")
    monkeypatch.setattr(sys, "argv", [str(STUDY), "--quick", "--out", str(tmp_path)])
    imported(STUDY).main()
    table = pd.read_csv(tmp_path / "independent_clocks.csv")
    rows = table[table["simulator"] == simulator]
    assert len(rows) == 2
    assert (rows["number"] > 10).all()
    assert (rows["largest_difference_s"] < 1e-9).all()
