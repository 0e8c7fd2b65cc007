"""Commands with a page on this machine: explore, and `run --watch`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sflsim.cli.console import err, errors, out
from sflsim.cli.options import (
    CPUS,
    Cache,
    Device,
    Overrides,
    ScenarioFile,
    Trust,
    Workers,
    cache_folder,
    new_folder,
    saved,
)

if TYPE_CHECKING:
    from sflsim.experiment.run import Run
    from sflsim.experiment.simulate import Progress
    from sflsim.scenario.schema import Scenario


def explore(
    scenario: ScenarioFile,
    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over",
            metavar="PATH[=V1,V2,...]",
            help="a further setting, with the values or the range it takes",
        ),
    ] = None,
    set_: Overrides = None,
    trust: Trust = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="port on this machine; 0: any that is free")
    ] = 0,
    workers: Workers = CPUS,
    device: Device = "cpu",
    cache: Cache = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="learn anew, and forget it at the end")
    ] = False,
) -> None:
    """Open a page on this machine: change settings of a scenario, and see its curves move."""
    with errors(), ExitStack() as stack:
        from sflsim.experiment.folders import learned
        from sflsim.explorer.board import Board
        from sflsim.explorer.controls import Controls
        from sflsim.explorer.explorer import Explorer
        from sflsim.explorer.retimer import make_retimer
        from sflsim.explorer.server import check_installed, serving
        from sflsim.learning.accelerators import device_named
        from sflsim.learning.graph.disk_store import check_kept
        from sflsim.report.html_live import live_page
        from sflsim.scenario.files import reread
        from sflsim.scenario.loading import load_scenario
        from sflsim.session import Options, Session
        from sflsim.workers.backends import ProcessBackend
        from sflsim.workers.pool import Pool

        check_installed()
        loaded = reread(load_scenario(scenario, set_ or [], trust=trust))
        controls = Controls(loaded, over or [])
        place = cache_folder(cache, no_cache)
        if place is not None:
            check_kept(place, "a page draws what a store holds; name a folder by --cache, or take --no-cache")
        folder = stack.enter_context(learned(place, needed=True))
        options = Options(device_named(device), cache=folder, trusted=loaded.trusted)
        Session(loaded, options).check()
        board = Board()
        explorer = Explorer(controls, options, board, workers=workers, save=partial(_write, loaded.name))
        page = partial(live_page, loaded.name, loaded.description)
        pool = Pool(ProcessBackend(partial(make_retimer, options)), workers)
        stack.callback(pool.close)
        address = stack.enter_context(serving(page, board, explorer.actions, port))
        out.print(f"open {address} in a browser on this machine; Ctrl-C ends it", soft_wrap=True)
        try:
            explorer.work(pool)
        except KeyboardInterrupt:
            err.print("ended")


def _write(name: str, run: Run) -> Path:
    """Write a run to a new folder."""
    with new_folder(None, name) as claim:
        return saved(partial(run.save, claim), claim)


@contextmanager
def watched(
    scenario: Scenario, target: float | None = None, port: int = 0
) -> Iterator[Callable[[Progress], None]]:
    """Serve a page of a run until the block ends; yield what takes the run's progress.

    It draws the `target`, by default the scenario's.
    """
    from sflsim.explorer.board import Board
    from sflsim.explorer.server import serving
    from sflsim.explorer.watch import Watch
    from sflsim.report.html_live import live_page

    board = Board()
    with serving(partial(live_page, scenario.name, scenario.description), board, {}, port) as address:
        err.print(f"watch at {address} in a browser on this machine", soft_wrap=True)
        yield Watch(scenario, board, target)
