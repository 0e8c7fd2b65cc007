"""The page of `explore` in a headless Chromium: settings, curves timed again, training, pins, two tabs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chromium import all_of, browsing, click, needs_chromium, one, table, texts
from support import data, read

from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.explorer.board import Board
from sflsim.explorer.controls import Controls
from sflsim.explorer.explorer import Explorer
from sflsim.explorer.retimer import Retimer
from sflsim.explorer.server import serving
from sflsim.metrics.tables import first_at_target
from sflsim.report.html_live import live_page
from sflsim.scenario import load_scenario
from sflsim.scenario.schema import Scenario
from sflsim.session import Options
from sflsim.workers.backends import InlineBackend
from sflsim.workers.pool import Pool, ignore

pytest.importorskip("plotly")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytestmark = [pytest.mark.slow, needs_chromium]
EVIL = "</script><img src=x onerror=alert(1)>"
MARKUP = "<b>bold</b> %{x} &amp; <a href='javascript:alert(1)'>link</a>"
OPTIMIZERS = {side: {"lr": 0.5} for side in ("client_optimizer", "server_optimizer")}


def scenario(*overrides: str) -> Scenario:
    """A short run under one seed, so that every figure of the page is one of a table."""
    variants = [
        {"algorithm": "splitfed-v1", "name": EVIL, **OPTIMIZERS},
        {"algorithm": "splitfed-v2", "name": MARKUP, **OPTIMIZERS},
    ]
    fields = {"variants": variants, "stop": {"rounds": 12}, "evaluate": {"every": "2 rounds"}}
    text = {"name": "explored", "description": f"{EVIL} {MARKUP}", "target_accuracy": "40%"}
    return read(data(**fields, **text), overrides)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as driver:
        yield driver


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    simulate(scenario(), cache=folder)
    return folder


@contextmanager
def explored(of: Scenario, folder: Path, work: bool = True) -> Iterator[str]:
    """Explore a scenario with what was learned in a folder; yield the page's address."""
    options = Options(cache=folder)
    board = Board()

    def write(run: Run) -> Path:
        return run.save(folder / "saved", plots=False)

    explorer = Explorer(Controls(of), options, board, save=write)

    def work_here() -> None:
        explorer.work(Pool(InlineBackend(Retimer(options), ignore), 1))

    thread = threading.Thread(target=work_here, daemon=True)
    if work:
        thread.start()
    with serving(partial(live_page, of.name, of.description), board, explorer.actions) as address:
        yield address
    explorer.end()
    if work:
        thread.join(60)


@pytest.fixture
def page(browser: Any, learned: Path) -> Iterator[Any]:
    """The page of the scenario with all of it known; a test that leaves a word on the console fails."""
    with explored(scenario(), learned) as address:
        shown(browser, address)
        yield browser
        assert browser.get_log("browser") == []
        browser.get("about:blank")


def until(browser: Any, told: Callable[[Any], Any]) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 120, poll_frequency=0.1).until(told)


def shown(browser: Any, address: str) -> None:
    """Open a page and wait until all is drawn."""
    browser.get(address)
    until(browser, settled)


def settled(browser: Any) -> bool:
    return bool(
        said(browser).startswith("All is as sflsim run") and all_of(browser, "#gantt .barlayer .point")
    )


def said(browser: Any) -> str:
    return str(texts(browser, "#controls .said")[0])


def set_control(browser: Any, id: str, value: str) -> None:
    """Type a value as a user does, and leave the field."""
    field = one(browser, f'[data-control="{id}"]')
    browser.execute_script("arguments[0].closest('details').open = true", field)
    if field.tag_name == "select":
        field.send_keys(value)
    else:
        click(browser, field)
        field.clear()
        field.send_keys(value)
    browser.execute_script("document.activeElement.blur()")


def command(browser: Any) -> str:
    return str(texts(browser, "#controls .command")[0])


def at_target(run: Run, target: float = 0.4) -> dict[str, dict[str, float | None]]:
    """Return what the table of the page holds by a run's tables, to the last bit."""
    columns = {"time_s": "time_s", "round": "round", "up": "uplink_bytes", "down": "downlink_bytes"}
    reached = first_at_target(run.evaluations, target).set_index("variant")
    return {
        variant.name: {
            "seeds": int(variant.name in reached.index),
            **{
                name: float(reached.loc[variant.name, column]) if variant.name in reached.index else None
                for name, column in columns.items()
            },
        }
        for variant in run.scenario.variants
    }


def curve_of(browser: Any, index: int) -> list[float]:
    """Return the accuracies of a curve, as drawn."""
    script = "return document.getElementById('accuracy-chart').data.filter((t) => t.mode === 'lines+markers')"
    return list(browser.execute_script(f"{script}[{index}].y"))


@pytest.mark.parametrize("name", ["quickstart", "phones_at_night", "papers/mu_splitfed_cifar10"])
def test_settings_are_those_of_the_scenario(browser: Any, tmp_path: Path, name: str) -> None:
    """Every control is there with the scenario's value, on a wide and a narrow window, silently."""
    of = load_scenario(name)
    with explored(of, tmp_path, work=False) as address:
        for width in (1280, 390):
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            browser.get(address)
            fields = browser.execute_script(
                "return [...document.querySelectorAll('[data-control]')].map("
                "(one) => [one.dataset.control, one.type === 'range' ? null : one.value])"
            )
            assert dict(fields) == {one.id: one.value for one in Controls(of).all.values()}
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        assert browser.get_log("browser") == []
        browser.get("about:blank")


def test_it_shows_what_run_gives(page: Any) -> None:
    """The table equals that of the tables to the last bit, names are text, and nothing is too wide."""
    assert table(page) == at_target(simulate(scenario()))
    assert all_of(page, "img, main a, svg b") == []
    assert [chip.text for chip in all_of(page, "#accuracy .chip")] == [EVIL, MARKUP]
    for width in (1280, 390):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        until(
            page,
            lambda page, width=width: (
                page.execute_script("return document.documentElement.scrollWidth") <= width
            ),
        )
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_change_of_the_clock_is_drawn_to_the_last_bit(page: Any) -> None:
    """A faster server typed in: another table, equal to that of `run` with what the page names."""
    before = table(page)
    set_control(page, "server.compute", "32 FLOP/s")
    until(page, lambda page: "32 FLOP/s" in command(page) and settled(page))
    assert table(page) != before
    assert table(page) == at_target(simulate(scenario("server.compute=32 FLOP/s")))
    assert command(page) == "--set 'server.compute=32 FLOP/s'"


def test_a_slider_moves_the_curve(page: Any) -> None:
    """Its keys change the amount beside it, and what is shown in the end is the last of them."""
    before = table(page)
    slider = one(page, "[aria-label='server compute, slider']")
    click(page, slider)
    slider.send_keys("\ue013" * 5)  # the arrow up
    amount = one(page, "[data-control='server.compute']").get_attribute("value")
    assert amount != "4 FLOP/s"
    until(page, lambda page: amount in command(page) and settled(page))
    assert table(page) == at_target(simulate(scenario(f"server.compute={amount}")))
    assert table(page) != before


def test_a_value_that_does_not_fit_is_told_beside_it(page: Any) -> None:
    """The words of the error stand at the setting, and what is shown stays."""
    before = table(page)
    set_control(page, "server.compute", "soon")
    until(page, lambda page: any("soon" in text for text in texts(page, ".setting .wrong-value")))
    assert table(page) == before
    assert command(page) == ""


def test_training_on_request_pins_and_saving(page: Any, learned: Path) -> None:
    """One participant of two: old curves stay, are told to need training, and are trained on a click."""
    old = curve_of(page, 0)
    click(page, one(page, "#pin"))
    until(page, lambda page: len(all_of(page, "#accuracy .chip")) == 4)
    set_control(page, "fleet.participants", "1")
    until(page, lambda page: "must be trained (about" in one(page, ".lacking").text)
    names = [chip.text for chip in all_of(page, "#accuracy .chip")]
    assert names == [EVIL, MARKUP, *(f"{name} (before)" for name in (EVIL, MARKUP)),
                     *(f"{name} (pin 1)" for name in (EVIL, MARKUP))]  # fmt: skip
    assert not one(page, "#save").is_enabled()
    click(page, one(page, "#train"))
    until(page, settled)
    run = simulate(scenario("fleet.participants=1"))
    shown = table(page)
    assert {name: shown[name] for name in (EVIL, MARKUP)} == at_target(run)
    assert curve_of(page, 2) == old
    assert curve_of(page, 0) != old
    click(page, one(page, "#save"))
    until(page, lambda page: said(page).startswith("written to"))
    assert load_scenario(learned / "saved").fleet.participants_per_round == 1
    click(page, one(page, ".pins button"))
    until(page, lambda page: len(all_of(page, "#accuracy .chip")) == 2)


def test_two_tabs_show_the_same(page: Any) -> None:
    """What is set in one is seen in the other; the target is each one's own."""
    first = page.current_window_handle
    address = page.current_url
    page.switch_to.new_window("tab")
    shown(page, address)
    set_control(page, "server.compute", "16 FLOP/s")
    until(page, lambda page: "16 FLOP/s" in command(page) and settled(page))
    wanted = table(page)
    page.close()
    page.switch_to.window(first)
    until(page, lambda page: table(page) == wanted)
    assert one(page, "[data-control='server.compute']").get_attribute("value") == "16 FLOP/s"


def test_a_page_of_another_origin_gets_and_changes_nothing(browser: Any, learned: Path) -> None:
    """A script elsewhere that has even got hold of the address can neither read nor change."""
    with explored(scenario(), learned) as address, serving(lambda news: "<p>other</p>", Board(), {}) as other:
        shown(browser, address)
        before = table(browser)
        browser.get(other)
        for mode in ("cors", "no-cors"):
            for below, method in (("news?since=0", "GET"), ("act/change", "POST")):
                script = """const [address, mode, method, done] = arguments;
                    const sent = JSON.stringify({"server.compute": "1 FLOP/s"});
                    fetch(address, {mode, method, body: method === "POST" ? sent : undefined})
                        .then((one) => one.text()).then(done, () => done(""));"""
                assert browser.execute_async_script(script, address + below, mode, method) == ""
        browser.get_log("browser")
        shown(browser, address)
        assert (table(browser), command(browser)) == (before, "")
        browser.get("about:blank")


def test_the_page_says_when_the_command_has_ended(browser: Any, learned: Path) -> None:
    """What was drawn stays; no request fails on the console."""
    with explored(scenario(), learned) as address:
        shown(browser, address)
        before = table(browser)
    until(browser, lambda page: page.execute_script("return document.documentElement.dataset.ended"))
    assert "ended" in said(browser)
    assert table(browser) == before
    assert browser.get_log("browser") == []
