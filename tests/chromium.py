"""A headless Chromium for tests of pages, and how they look at it and click."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with its driver is installed: the page is not tried"
)


@contextmanager
def browsing() -> Iterator[Any]:
    """Yield a browser that keeps what is said on its console."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    quiet = ["--headless=new", "--window-size=1400,1000", "--disable-dev-shm-usage", "--no-first-run"]
    for argument in [*quiet, *(["--no-sandbox"] if os.geteuid() == 0 else [])]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(browser: Any, file: Path) -> None:
    browser.get(file.as_uri())
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(
        lambda one: one.execute_script("return document.documentElement.dataset.ready")
    )


def all_of(browser: Any, selector: str) -> list[Any]:
    return list(browser.find_elements("css selector", selector))


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def at_rest(browser: Any, selector: str) -> Any:
    """Return an element that has stayed in its place for two looks, a tenth of a second apart."""
    from selenium.webdriver.support.ui import WebDriverWait

    seen: list[Any] = [None]

    def rests(browser: Any) -> bool:
        seen.append(one(browser, selector).rect)
        return bool(seen[-1] == seen[-2])

    WebDriverWait(browser, 30, poll_frequency=0.1).until(rests)
    return one(browser, selector)


def texts(browser: Any, selector: str) -> list[str]:
    """Return the texts of all elements, in view or not, in order."""
    script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
    return list(browser.execute_script(script, selector))


def put(browser: Any, id: str, value: object, event: str) -> None:
    """Set a field at once, as a user does who pastes."""
    script = "const [id, value, event] = arguments, field = document.getElementById(id);"
    script += "field.value = value; field.dispatchEvent(new Event(event))"
    browser.execute_script(script, id, value, event)


def click(browser: Any, element: Any) -> None:
    """Scroll to an element's middle, for the navigation covers the top, and click it."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    element.click()


def typed(browser: Any, text: str) -> None:
    one(browser, "#target").clear()
    one(browser, "#target").send_keys(text)


def table(browser: Any) -> dict[str, dict[str, float | None]]:
    """Return the mean of every column of the time-to-target table, by variant."""
    rows = browser.execute_script(
        """return [...document.querySelectorAll("#time-to-target tbody tr")].map((row) => [
            row.cells[0].textContent, row.cells[1].textContent,
            [...row.querySelectorAll("[data-column]")].map(
                (one) => [one.dataset.column, one.dataset.value])]);"""
    )
    return {
        name: {"seeds": int(seeds.split("/")[0]), **{key: float(v) if v else None for key, v in cells}}
        for name, seeds, cells in rows
    }


def drawn_lines(browser: Any) -> list[str]:
    """Return the variants whose mean is drawn at this moment."""
    return list(
        browser.execute_script(
            """const chart = document.getElementById("accuracy-chart");
            const on = chart._fullData.filter((trace) => trace.visible === true);
            const means = on.filter((trace) => trace.mode === "lines+markers");
            const paths = chart.querySelectorAll(".scatterlayer .trace path.js-line").length;
            if (paths < means.length) throw new Error("a line is missing");
            return means.map((trace) => trace.name);"""
        )
    )
