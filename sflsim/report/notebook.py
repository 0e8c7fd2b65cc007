"""What a notebook shows of a result: its name, a table, what the table means, and a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from sflsim.report.html import escape, table_html
from sflsim.report.style import DPI, styled

STYLE = (
    ".sflsim table{border-collapse:collapse} .sflsim td,.sflsim th{text-align:left;padding:1px 8px}"
    ".sflsim td.figure,.sflsim th.figure{text-align:right} .sflsim img{max-width:100%}"
    ".sflsim p{margin:4px 0} .sflsim .note{font-size:smaller;opacity:.75}"
)
CSS_PX_PER_IN = 96


def card(
    name: str,
    facts: str,
    columns: Mapping[str, Sequence[str]],
    words: int,
    *,
    lead: Sequence[str] = (),
    notes: Sequence[str] = (),
    figure: Figure | None = None,
) -> str:
    """Return HTML for an output of a notebook; the first `words` columns are texts, the others figures.

    All texts are escaped here.
    """
    parts = [f"<style>{STYLE}</style><p><b>{escape(name)}</b> {escape(facts)}</p>"]
    parts += [f"<p>{escape(line)}</p>" for line in lead]
    if columns:
        parts.append(table_html(list(columns), zip(*columns.values(), strict=True), text_columns=words))
    parts += [f'<p class="note">{escape(line)}</p>' for line in notes]
    if figure is not None:
        parts.append(_picture(figure))
    return f'<div class="sflsim">{"".join(parts)}</div>'


def _picture(figure: Figure) -> str:
    """Return a figure as an image within the page, in its own size."""
    png = io.BytesIO()
    with styled():
        figure.savefig(png, format="png", dpi=DPI)
    width = round(figure.get_figwidth() * CSS_PX_PER_IN)
    text = base64.b64encode(png.getvalue()).decode()
    return f'<img width="{width}" alt="" src="data:image/png;base64,{text}">'
