"""The look of every picture: paper widths, fonts, Okabe-Ito colours, and files that are equal byte for byte.

Figures are built with matplotlib's objects, never through pyplot, so that drawing leaves no state behind.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FixedLocator

DPI = 200
INK = "#262626"
MUTED = "#6b6b6b"

BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
# Okabe and Ito's eight without yellow, which fades on white paper.
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)))
MARKERS = "os^DvP<>*hpd"

STYLE: dict[str, Any] = {
    "text.parse_math": False,  # a name may have any characters, such as two dollar signs
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.35,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.8,
    "hatch.linewidth": 0.5,
    "axes.formatter.useoffset": False,
    "pdf.fonttype": 42,  # publishers refuse type 3
    "svg.hashsalt": "sflsim",
    "pgf.texsystem": "pdflatex",
    "pgf.rcfonts": False,  # the fonts of the document
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
}

FORMS: dict[str, dict[str, Any]] = {
    "png": {"metadata": {"Software": None}},
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
    "svg": {"metadata": {"Date": None}},
    "pgf": {},
}
"""The forms of a picture, each with what keeps date and software out of it."""
LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {one: f"\\{one}" for one in "&%$#_{}"}
)
"""How LaTeX spells the characters that are commands to it."""


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style over matplotlib's own defaults: a user's settings do not change the pictures.

    A sign that the font lacks is drawn as a box; `lacking` tells of it.
    """
    with style.context(STYLE, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield


in_style = styled()


@dataclass(frozen=True, slots=True)
class Page:
    """The widths of a page's text in inches: of one column, and of the whole page."""

    column_in: float
    whole_in: float


PAGE = Page(3.5, 7.16)
"""That of IEEE journals and conferences."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one variant is drawn in every picture; different for 35 variants in a row."""

    color: str
    line: Any
    marker: str


def look(index: int) -> Look:
    """Return the look of the variant that stands at `index` in the scenario."""
    line = LINES[index // len(PALETTE) % len(LINES)]
    return Look(PALETTE[index % len(PALETTE)], line, MARKERS[index % len(MARKERS)])


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure of this size with constrained layout and a canvas of its own."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def bar_rows(names: Sequence[str], page: Page = PAGE) -> tuple[Figure, Axes]:
    """Return a figure with a row for each of `names`, the first on top; as wide as the page if long."""
    wide = max(len(name) for name in names) > 26
    labels = [wrapped(name, 52 if wide else 26) for name in names]
    row_in = 0.13 + 0.11 * max(label.count("\n") + 1 for label in labels)
    figure = new_figure(page.whole_in if wide else page.column_in, 0.45 + row_in * len(labels))
    axes = figure.subplots()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def message_figure(text: str) -> Figure:
    """Return a small figure that says why there is nothing to draw."""
    figure = new_figure(PAGE.column_in, 1.0)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=MUTED)
    return figure


def wrapped(name: str, width: int) -> str:
    """Return `name` broken into lines of at most `width` characters; nothing is cut off."""
    return "\n".join(textwrap.fill(line, width) for line in name.split("\n"))


def width_in(figure: Figure, labels: Sequence[str], size: float) -> float:
    """Return the width in inches of the widest of `labels` at font size `size`."""
    probes = [figure.text(0, 0, label, fontsize=size) for label in labels]
    widths = [probe.get_window_extent().width / figure.dpi for probe in probes]
    for probe in probes:
        probe.remove()
    return max(widths, default=0.0)


def legend_below(axes: Axes, handles: Sequence[Artist], labels: Sequence[str]) -> Legend:
    """Put a legend below `axes` in as many columns as fit, and make the figure taller by its height."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    labels = [wrapped(label, int(width * 14)) for label in labels]
    each_in = width_in(figure, labels, STYLE["legend.fontsize"]) + 0.45
    columns = max(1, min(len(labels), int(width / each_in)))
    columns = math.ceil(len(labels) / math.ceil(len(labels) / columns))
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    figure.set_size_inches(width, height + legend.get_window_extent().height / figure.dpi)
    return legend


def safe_name(name: str, taken: set[str]) -> str:
    """Return `name` as a file name's part for any file system, unlike those in `taken`, and add it there."""
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "variant"
    choice, number = base, 1
    while choice.lower() in taken:
        number += 1
        choice = f"{base}-{number}"
    taken.add(choice.lower())
    return choice


def lacking(figure: Figure) -> set[str]:
    """Return the characters in a figure that its font does not have."""
    known = get_font(findfont(STYLE["font.family"])).get_charmap()
    texts = "".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
    return {one for one in texts if ord(one) not in known and not one.isspace()}


def save_figure(figure: Figure, path: Path, form: str = "png") -> Path:
    """Write `figure` in one of `FORMS`, without date or software name, so that equal tables give equal bytes.

    PGF comes last: it leaves the figure with LaTeX's own spelling of its texts.
    """
    picture = io.BytesIO()
    if form == "pgf":
        spell_for_latex(figure)
    with styled():
        figure.savefig(picture, format=form, dpi=DPI, **FORMS[form])
    path.unlink(missing_ok=True)  # a link would lead the picture elsewhere
    path.write_bytes(picture.getvalue())
    return path


def spell_for_latex(figure: Figure) -> None:
    """Give all texts of a drawn figure LaTeX's spelling, those at its ticks included: none is a command."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            places = list(map(float, axis.get_majorticklocs()))
            labels = axis.get_major_formatter().format_ticks(places)
            axis.set_major_locator(FixedLocator(places))
            axis.set_major_formatter(FixedFormatter([label.translate(LATEX) for label in labels]))
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(text.get_text().translate(LATEX))
