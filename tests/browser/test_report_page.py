"""The HTML report in a headless Chromium: it draws, it answers, it is silent, and it runs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chromium import (
    all_of,
    at_rest,
    browsing,
    click,
    drawn_lines,
    needs_chromium,
    one,
    opened,
    put,
    table,
    texts,
    typed,
)
from support import FAST, SLOW, data, read

from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.metrics.summary import summarize
from sflsim.report.html_points import plan_report, sweep_report

pytest.importorskip("plotly")
pytestmark = [pytest.mark.slow, needs_chromium]
EVIL = "</script><img src=x onerror=alert(1)>"
MARKUP = "<b>bold</b> %{x} &amp; <a href='javascript:alert(1)'>link</a>"


@pytest.fixture(scope="module")
def run() -> Run:
    """A short run that learns, under names that mean something to a browser."""
    power = {"power": {"idle": "1 W", "compute": "3 W", "send": "2 W", "receive": "2 W"}}
    groups = [{**group, "device": {**group["device"], **power}} for group in (FAST, SLOW)]
    optimizers = {side: {"lr": 0.5} for side in ("client_optimizer", "server_optimizer")}
    scenario = data(
        name="page",
        description=f"{EVIL} {MARKUP}",
        seeds=[0, 1],
        fleet={"clients": 2, "groups": groups},
        variants=[
            {"algorithm": "splitfed-v1", "name": EVIL, **optimizers},
            {"algorithm": "splitfed-v2", "name": MARKUP, **optimizers},
            {"algorithm": "mu-splitfed"},
        ],
        stop={"rounds": 24},
        evaluate={"every": "3 rounds"},
        target_accuracy="40%",
    )
    done = simulate(read(scenario))
    done.manifest["provenance"] = {**done.manifest["provenance"], "commit": "d" * 40, "command": "m" * 300}
    renamed = {"fast": EVIL, "slow": MARKUP}  # no scenario may name a group so; a stranger's tables may
    renamed |= {f"{name}-0": f"{other}-0" for name, other in renamed.items()}
    for frame, columns in ((done.spans, ["actor", "client"]), (done.clients, ["client", "group"])):
        frame[columns] = frame[columns].replace(renamed)
    return done


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as driver:
        yield driver


@pytest.fixture(scope="module")
def file(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run.report(tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Any]:
    """The run's page, freshly opened; a test that leaves a word on the console fails."""
    opened(browser, file)
    yield browser
    assert browser.get_log("browser") == []


def test_every_section_is_drawn(page: Any) -> None:
    """Each picture has its marks, nothing was fetched, and the page is no wider than the window."""
    from selenium.webdriver.support.ui import WebDriverWait

    for section, marks in {
        "accuracy": ".scatterlayer .trace",
        "gantt": ".barlayer .point",
        "time": ".barlayer .point",
        "fleet": ".scatterlayer .point",
    }.items():
        assert len(all_of(page, f"#{section} {marks}")) >= 2, section
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    for width in (1400, 390):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        WebDriverWait(page, 30).until(
            lambda page, width=width: (  # once the pictures are drawn anew
                page.execute_script("return document.documentElement.scrollWidth") <= width
            )
        )
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_names_are_shown_as_they_are(page: Any, run: Run) -> None:
    """No name became an element: not in the page, nor in plotly's own text."""
    assert all_of(page, "img, main a, svg b, .handle ~ script") == []
    assert "onerror" not in page.execute_script(
        "return [...document.querySelectorAll('*')].flatMap((one) => one.getAttributeNames()).join(' ')"
    )
    chips = [chip.text for chip in all_of(page, "#accuracy .chip")]
    assert chips == [variant.name for variant in run.scenario.variants]
    ticks = texts(page, "#time .ytick text")
    assert [tick.replace(" ", "") for tick in ticks] == [chip.replace(" ", "") for chip in chips]
    assert EVIL in one(page, ".description").text
    assert MARKUP in one(page, ".description").text


def test_variants_switch_on_and_off(page: Any, run: Run) -> None:
    """A click on the legend, and the buttons all and none, change the lines and the table."""
    names = [variant.name for variant in run.scenario.variants]
    assert len(drawn_lines(page)) == 3
    click(page, all_of(page, "#accuracy .chip")[0])
    assert len(drawn_lines(page)) == 2
    assert list(table(page)) == names[1:]
    click(page, one(page, "#accuracy [data-all=false]"))
    assert (drawn_lines(page), table(page)) == ([], {})
    click(page, one(page, "#accuracy [data-all=true]"))
    assert len(drawn_lines(page)) == 3
    assert list(table(page)) == names


UNITS = {"(s)": 1, "(min)": 60, "(h)": 3600, "(B)": 1, "(KiB)": 1024, "(J)": 1, "(kJ)": 1e3, "rounds": 1}


def test_axes(page: Any, run: Run) -> None:
    """Each axis ends where the run does: its time, rounds, bytes up and down, joules."""
    table = run.evaluations.assign(bytes=run.evaluations["uplink_bytes"] + run.evaluations["downlink_bytes"])
    words = {"round": "rounds", "bytes": "bytes sent", "energy_j": "energy", "time_s": "simulated time"}
    for axis, word in words.items():
        click(page, one(page, f"#accuracy [data-key={axis}]"))
        (title,) = texts(page, "#accuracy .xtitle")
        assert title.startswith(word)
        longest = page.execute_script(
            "const {_fullData} = document.getElementById('accuracy-chart');"
            "return Math.max(..._fullData.flatMap((trace) => [...(trace.x ?? [])]))"
        )
        size = next(size for unit, size in UNITS.items() if title.endswith(unit))
        assert longest * size == pytest.approx(table[axis].max(), rel=1e-5)


def test_a_typed_target_gives_the_summary_of_the_tables(page: Any, run: Run) -> None:
    """The page's table equals what Python makes of the same run and target."""
    columns = {"time_s": "time_s", "round": "rounds", "up": "uplink_bytes", "down": "downlink_bytes"}
    seen = set()
    for target in ("40", "25 %", "12,5%", "99.9"):
        typed(page, target)
        share = float(target.strip("% ").replace(",", ".")) / 100
        shown = table(page)
        for row in summarize(run.evaluations, run.runs, share).to_dict("records"):
            own = shown[row["variant"]]
            seen.add(own["seeds"])
            assert own["seeds"] == row["seeds_reached"]
            for key, column in columns.items():
                wanted = None if np.isnan(row[column]) else pytest.approx(row[column], rel=1e-12)
                assert own[key] == wanted
    assert {0, 2} <= seen


def test_a_target_that_is_none(page: Any) -> None:
    """Text that is no share is marked and changes nothing; an empty field takes the line away."""
    before = table(page)
    typed(page, "x")
    assert "wrong" in one(page, "#target").get_attribute("class")
    put(page, "target", "", "input")
    assert before
    assert table(page) == {}
    assert not one(page, "#accuracy .handle").is_displayed()


@pytest.mark.parametrize("part", [".handle", ".grip"])
def test_the_target_line_can_be_dragged(page: Any, part: str) -> None:
    """Down with the handle or the line is down with the target, and the table follows."""
    from selenium.webdriver import ActionChains

    page.execute_script("document.getElementById('accuracy').scrollIntoView({behavior: 'instant'})")
    before = table(page)
    ActionChains(page).drag_and_drop_by_offset(at_rest(page, f"#accuracy {part}"), 0, 60).perform()
    target = float(one(page, "#target").get_attribute("value"))
    assert target < 40
    assert one(page, "#accuracy .handle").text == f"{target:g} %"
    after = table(page)
    assert all(after[name]["seeds"] >= before[name]["seeds"] for name in before)
    assert after != before


def test_gantt_shows_the_rounds_asked_for(page: Any, run: Run) -> None:
    """Variant, seed and rounds choose what is drawn; the bars end where the spans do."""
    from selenium.webdriver.support.ui import Select

    Select(one(page, "#gantt select[aria-label=variant]")).select_by_visible_text("mu-splitfed")
    Select(one(page, "#gantt select[aria-label=seed]")).select_by_visible_text("1")
    for field, value in (("from", 5), ("count", 2)):
        put(page, f"gantt-{field}", value, "change")
    assert texts(page, "#gantt .annotation-text") == ["round 5", "round 6"]
    spans = run.spans[
        (run.spans["variant"] == "mu-splitfed") & (run.spans["seed"] == 1) & run.spans["round"].isin([5, 6])
    ]
    drawn = page.execute_script(
        "return document.getElementById('gantt-chart').data.reduce((n, trace) => n + trace.x.length, 0)"
    )
    jobs = spans["activity"].isin(["serve", "queue"]).sum()
    assert drawn == len(spans[spans["actor"] != "server"]) + jobs


def test_a_planted_script_does_not_run(browser: Any, file: Path) -> None:
    """The policy of the page refuses a script that is not its own, should one ever get in."""
    opened(browser, file)
    browser.execute_script(
        "const script = document.createElement('script'), box = document.createElement('div');"
        "script.textContent = 'document.title = 1';"
        "box.innerHTML = '<img src=x onerror=\"document.title=2\">';"
        "document.body.append(script, box);"
    )
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    assert browser.title == "page - sflsim"
    assert {entry["level"] for entry in browser.get_log("browser")} == {"SEVERE"}


def sweep_page() -> str:
    rows = []
    for point, (mean, link) in enumerate(product(["1 s", "2 s", "5 s"], ["wifi", EVIL])):
        for variant, seed in product(["one", MARKUP], [0, 1]):
            figures = {"accuracy": 0.8, "time_s": 10.0 * (point + seed) if point else np.nan}
            swept = {"point": point, "fleet.straggler.mean": mean, EVIL: link}
            rows.append({**swept, "variant": variant, "seed": seed, "status": "completed", **figures})
    return sweep_report(pd.DataFrame(rows), ["fleet.straggler.mean", EVIL], name="sweep")


def plan_page() -> str:
    points = pd.DataFrame(
        {
            "variant": ["a", EVIL, "c"],
            "server.slots": [1, 2, 4],
            "time_s": [30.0, 20.0, 10.0],
            "cost": [1.0, 2.0, 4.0],
            "pareto": [True, True, True],
            "recommended": [False, True, False],
        }
    )
    chosen = {"decisions": ["variant", "server.slots"], "objectives": ["time_s", "cost"]}
    return plan_report(points, **chosen, name="plan", units={"cost": "EUR"}, reasons=[EVIL])


def test_a_sweep_is_drawn_and_sorted(browser: Any, tmp_path: Path) -> None:
    """Lines over a path, the other paths to choose from, and a table that sorts by what is clicked."""
    (tmp_path / "sweep.html").write_text(sweep_page(), encoding="utf-8")
    opened(browser, tmp_path / "sweep.html")
    x = browser.execute_script("return document.getElementById('sweep-chart').data[2].x")
    assert x == [2, 5]  # at 1 s and wifi no seed got there
    select = all_of(browser, "#sweep select")
    assert [len(box.find_elements("css selector", "option")) for box in select] == [2, 2, 3]
    select[2].send_keys("mean")
    assert browser.execute_script("return document.getElementById('sweep-chart').data[2].x") == [1, 2, 5]
    click(browser, next(button for button in all_of(browser, "#rows th button") if button.text == "time"))
    columns = texts(browser, "#rows th")
    assert texts(browser, "#rows tbody tr:first-child td")[columns.index("time")] == "10.0 s"
    assert all_of(browser, "img") == []
    assert browser.get_log("browser") == []


def test_a_plan_has_its_front(browser: Any, tmp_path: Path) -> None:
    """The front, its recommended point first in the table, and hover texts with every decision."""
    (tmp_path / "plan.html").write_text(plan_page(), encoding="utf-8")
    opened(browser, tmp_path / "plan.html")
    assert len(all_of(browser, "#plan .scatterlayer .point")) == 3
    text = browser.execute_script("return document.getElementById('plan-chart').data.at(-1).text[0]")
    assert "server.slots: 2" in text
    assert "2 EUR" in text
    assert EVIL in one(browser, "#plan-table tr.marked").text
    assert all_of(browser, "img") == []
    assert browser.get_log("browser") == []
