"""One self-contained HTML page: sections, data, style and scripts in one file that needs no network.

What a scenario calls things reaches the page in two ways only: as text through `escape`, and as
JSON in a data block, which the page's scripts put in place as text. A content security policy
lets the browser run the page's own two scripts, named by their hashes, and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from sflsim.errors import SflsimError

SCRIPTS = ("base.js", "accuracy.js", "gantt.js", "bars.js", "fleet.js", "points.js", "start.js")
WRITTEN = "Written by sflsim. This file holds all it shows; no network is needed."
SERVED = "Served by sflsim on this machine alone, until the command ends (Ctrl-C)."


@dataclass(frozen=True)
class Section:
    """A part of the page: `body` is HTML already; `drawn` sections are filled by the script of that id."""

    id: str
    title: str
    lead: str = ""
    body: str = ""
    drawn: bool = False


def escape(text: Any) -> str:
    """Return `text` for the inside of an element or of a quoted attribute."""
    return html.escape(str(text), quote=True)


def page(
    title: str,
    description: str,
    facts: Sequence[str],
    sections: Sequence[Section],
    data: Mapping[str, Any],
    live: bool = False,
) -> str:
    """Return the whole page as text; one that is `live` follows the server that it came from.

    Raises:
        SflsimError: plotly is not installed.
    """
    plotly, own = _script_text(plotly_source()), _script_text(_own_script(live))
    policy = (
        f"default-src 'none'; script-src {_hash(plotly)} {_hash(own)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'" + ("; connect-src 'self'" if live else "")
    )
    links = "".join(f'<a href="#{one.id}">{escape(one.title)}</a>' for one in sections)
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">',
            f"<title>{escape(title)} - sflsim</title>",
            f"<style>\n{_asset('page.css')}{_asset('live.css') if live else ''}</style>\n</head>",
            '<body class="live">' if live else "<body>",
            f"<header><h1>{escape(title)}</h1>",
            f'<p class="description">{escape(description)}</p>' if description else "",
            f'<p class="facts">{"".join(f"<span>{escape(fact)}</span>" for fact in facts)}</p></header>',
            f"<nav>{links}</nav>\n<main>",
            "<noscript><p>The tables below need nothing; the pictures need JavaScript.</p></noscript>",
            *(_section(one) for one in sections),
            "</main>",
            f"<footer>{SERVED if live else WRITTEN}</footer>",
            f'<script type="application/json" id="data">{embedded(data)}</script>',
            f"<script>{plotly}</script>\n<script>{own}</script>\n</body>\n</html>\n",
        ]
    )


def plotly_source() -> str:
    """Return the source of plotly.js, as the Python package plotly brings it.

    Raises:
        SflsimError: plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise SflsimError(
            "the report needs plotly, which is not installed; install it with: pip install 'sflsim[report]'"
        ) from error
    return str(get_plotlyjs())


def table_html(
    headers: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1, long: float = math.inf
) -> str:
    """Return a table of texts, escaped here; columns from `text_columns` on are figures, set to the right.

    Texts of `long` characters or more get a wide column.
    """

    def kind(place: int, text: str) -> str:
        if place >= text_columns:
            return ' class="figure"'
        return ' class="long"' if len(text) >= long else ""

    def cells(tag: str, texts: Sequence[str]) -> str:
        kinds = [kind(place, text) for place, text in enumerate(texts)]
        return "".join(
            f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{cells('th', headers)}</tr></thead>"
    told = ' class="told"' if long < math.inf else ""
    return f'<div class="scroll"><table{told}>{head}<tbody>{body}</tbody></table></div>'


def folded(title: str, text: str) -> str:
    """Return a text that opens on a click, shown as it is written."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def embedded(data: Any) -> str:
    """Return `data` as JSON in which no character can end the script element that holds it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def short(number: float, digits: int = 7) -> float | None:
    """Return a number with `digits` significant digits, None where there is none: JSON without NaN."""
    number = float(number)
    if not math.isfinite(number):
        return None
    number = float(f"{number:.{digits}g}")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _section(one: Section) -> str:
    lead = f'<p class="lead">{escape(one.lead)}</p>' if one.lead else ""
    drawn = f' data-drawn="{one.id}"' if one.drawn else ""
    return f'<section id="{one.id}"{drawn}><h2>{escape(one.title)}</h2>{lead}{one.body}</section>'


def _own_script(live: bool) -> str:
    names = (*SCRIPTS, "live.js") if live else SCRIPTS
    return '(() => {\n"use strict";\n' + "".join(map(_asset, names)) + "})();\n"


def _asset(name: str) -> str:
    return (files("sflsim.report") / "assets" / name).read_text(encoding="utf-8")


def _script_text(source: str) -> str:
    """Return a script as the browser will read it from the page: no early end, one kind of line end."""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
