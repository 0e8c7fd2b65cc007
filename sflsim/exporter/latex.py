"""A table with booktabs' rules, and figures as PDF, SVG and PGF at the widths of common templates."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from sflsim.errors import SflsimError, did_you_mean
from sflsim.report.plots import Pictures, save_all
from sflsim.report.style import PAGE, Page

TEMPLATES = {
    "ieee": PAGE,
    "acm": Page(3.33, 7.0),
    "elsevier": Page(3.54, 7.48),
    "icml": Page(3.25, 6.75),
    "lncs": Page(4.8, 4.8),
    "neurips": Page(5.5, 5.5),
}
"""Widths in inches: IEEE's guide for authors, acmart (sigconf), Elsevier's artwork sizes (90 and 190 mm), the
text widths of the styles of ICML, Springer's llncs and NeurIPS; the last two have one column."""
NO_PGF = (
    "no figures in PGF: matplotlib measures their texts with pdflatex, which is not here (with the packages "
    "pgf and underscore); PDF and SVG are"
)


def page_of(template: str) -> Page:
    """Return the widths of a template (raises SflsimError where there is none of the name)."""
    if template not in TEMPLATES:
        remedy = did_you_mean(template, TEMPLATES)
        allowed = f"allowed: {', '.join(TEMPLATES)}{f'; {remedy}' if remedy else ''}"
        raise SflsimError(f"--template: found {template!r}; {allowed}")
    return TEMPLATES[template]


def latex_table(columns: Mapping[str, Sequence[str]], words: int, notes: Sequence[str] = ()) -> str:
    """Return texts by heading as a tabular with booktabs' rules, units below headings, `notes` as comments.

    The first `words` columns stand on the left. It needs the package booktabs and an environment around it.

    Raises:
        SflsimError: Jinja2 is not installed, with which pandas writes LaTeX.
    """
    pairs = []
    for number, name in enumerate(columns):
        head, _, unit = name.rpartition(" (") if number >= words and name.endswith(")") else (name, "", "")
        pairs.append((head, f"({unit}" if unit else ""))
    frame = pd.DataFrame(list(zip(*columns.values(), strict=True)))
    frame.columns = pd.MultiIndex.from_tuples(pairs)
    layout = "l" * words + "r" * (len(columns) - words)
    try:
        text = frame.to_latex(index=False, escape=True, column_format=layout, multicolumn=False)
    except ImportError as error:
        remedy = "install it with: pip install 'sflsim[latex]'"
        raise SflsimError(f"--to latex: needs Jinja2, which is not installed; {remedy}") from error
    comments = [f"% {line}" for note in notes for line in note.splitlines()]
    return "\n".join([*comments, text])


def draw(pictures: Pictures, folder: Path, failures: list[str]) -> tuple[list[Path], list[str]]:
    """Write pictures as PDF, SVG and, where pdflatex is here, PGF; return paths, and what is left out."""
    with_latex = shutil.which("pdflatex") is not None
    forms = ("pdf", "svg", "pgf") if with_latex else ("pdf", "svg")
    return save_all(pictures, folder, failures, forms), [] if with_latex else [NO_PGF]
