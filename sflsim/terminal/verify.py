"""What a verification found, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sflsim.experiment.verify import Verification
from sflsim.formatting import counted, number_text


def format_verification(found: Verification) -> Iterator[str]:
    """Yield a line per table and column that differs, then versions and files that do, then the verdict."""
    for row in found.differences.to_dict("records"):
        rows = counted(int(row["rows"]), "row")
        if not row["differing"]:
            yield f"{row['table']}: the same ({rows})"
        elif not row["column"]:
            yield f"{row['table']}: {rows}, and {counted(int(row['rows_again']), 'row')} again"
        else:
            most = row["largest"]
            by = f", by up to {number_text(100 * most)} %" if math.isfinite(most) else ""
            yield f"{row['table']}: {row['column']} differs in {row['differing']} of {rows}{by}"
    for name, (then, now) in found.versions.items():
        yield f"{name}: {then}" if then == now else f"{name}: {then} then, {now} now"
    for file in found.changed_files:
        yield f"{file}: does not say what the run has read"
    yield "the same, to the last bit" if found.same else "NOT the same"
