"""A page that follows a computation: the sections of a run's report, and settings beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sflsim.report.html import Section, page
from sflsim.report.html_run import ACCURACY, GANTT, TIME

WAITING = '<p class="waiting">Nothing yet: this is drawn as soon as a run is known.</p>'


def live_page(name: str, description: str, news: Mapping[str, Any]) -> str:
    """Return the page of what a board holds (`Board.since(0)`); its script asks for what comes later.

    Raises:
        SflsimError: plotly is not installed.
    """
    parts = news["parts"]
    data = {
        **{key: parts.get(key) for key in ("variants", "accuracy", "gantt", "time")},
        "live": {
            "number": news["number"],
            "controls": parts.get("controls", []),
            "status": parts.get("status", {}),
            "pins": parts.get("pins", []),
        },
    }
    sections = [
        Section("controls", "Settings" if data["live"]["controls"] else "Run"),
        Section("accuracy", "Accuracy", ACCURACY, WAITING, drawn=True),
        Section("time", "Where the time goes", TIME, WAITING, drawn=True),
        Section("gantt", "Rounds in detail", GANTT, WAITING, drawn=True),
    ]
    return page(name, description, [], sections, data, live=True)
