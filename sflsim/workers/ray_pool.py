"""Workers on a Ray cluster (the extra `ray`): an actor each, replaced when it dies.

Every machine of the cluster needs sflsim installed. Ray is imported when a pool is made.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from sflsim.errors import SflsimError
from sflsim.workers.pool import HERE, Event, Runner, Task

WAIT_S = 0.5
CONNECT_TIMEOUT_S = 10.0


class RayPool:
    """Actors on the Ray cluster at `address`: "auto" finds one that runs, "local" starts one here."""

    def __init__(self, address: str, runner: Runner, workers: int | None, shared: Path | None) -> None:
        """Reach the cluster; `shared` is a folder that the actors use as well where they find it."""
        self._ray = _ray()
        self._connected_here = not self._ray.is_initialized()
        if self._connected_here:
            _connect(self._ray, address, workers)
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._runner = runner
        self._actor = self._ray.remote(num_cpus=1, max_restarts=0)(RayWorker)
        self._token = _token(shared)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}  # what is awaited -> whose it is
        self._started = 0

    def start_worker(self) -> None:
        """Start an actor as soon as the cluster has a CPU for it."""
        actor = self._actor.remote(self._runner, self._token)
        self._actors[self._started] = actor
        self._pending[actor.place.remote()] = self._started
        self._started += 1

    def submit(self, worker: int, task: Task) -> None:
        """Send a task; that its actor is dead shows in the next events."""
        self._pending[self._actors[worker].run.remote(*task)] = worker

    def events(self) -> list[Event]:
        """Return results, and the deaths of actors."""
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=WAIT_S)
        return [self._event(one, self._pending.pop(one)) for one in ready]

    def _event(self, awaited: Any, worker: int) -> Event:
        try:
            message = self._ray.get(awaited)
        except self._ray.exceptions.RayError as error:
            if isinstance(error, self._ray.exceptions.RayTaskError):
                raise SflsimError(f"a Ray worker cannot work: {error.cause}") from error
            del self._actors[worker]
            return Event(worker)
        return Event(worker, message) if isinstance(message, str) else Event(worker, result=message)

    def close(self) -> None:
        """Let the actors go, and the cluster if it was reached for this sweep."""
        for actor in self._actors.values():
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)
        self._actors.clear()
        self._pending.clear()
        if self._token is not None:
            self._token.unlink(missing_ok=True)
        if self._connected_here:
            self._ray.shutdown()


class RayWorker:
    """The actor: a runner on some machine of the cluster."""

    def __init__(self, runner: Runner, token: Path | None) -> None:
        self._runner = runner
        self._shared = token is not None and token.exists()

    def place(self) -> str:
        """Return where this runner's store is: with the driver's process, or on this machine alone."""
        if self._shared:
            return HERE
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def run(self, *task: Any) -> Any:
        """Do a task."""
        return self._runner.run(*task)


def refuse_main(components: Iterable[type[Any]]) -> None:
    """Refuse components of the script at hand, which other machines cannot import.

    Raises:
        SflsimError: a component is defined in `__main__`.
    """
    for component in components:
        if component.__module__ == "__main__":
            raise SflsimError(
                f"--ray: {component.__qualname__} is defined in the script itself, where Ray's workers "
                "cannot import it; put it into a module that is installed on every machine"
            )


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a sweep tells nobody
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise SflsimError("--ray needs the package ray: pip install 'sflsim[ray]'") from error
    return ray


def _connect(ray: Any, address: str, workers: int | None) -> None:
    """Reach the cluster.

    Raises:
        SflsimError: there is none at this address.
    """
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    _check_reachable(address)
    try:
        if address == "local":
            ray.init(address="local", num_cpus=workers or os.cpu_count(), include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise SflsimError(
            f"--ray {address}: no Ray cluster can be reached there ({reason}); "
            "start one with 'ray start --head', or use --ray local"
        ) from error


def _check_reachable(address: str) -> None:
    """Refuse an address where nobody listens; Ray itself would try for ten minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address in ("auto", "local") or not (colon and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise SflsimError(f"--ray {address}: nobody answers there ({error})") from error


def _token(cache: Path | None) -> Path | None:
    """Leave a mark in the store's folder, by which an actor sees whether the folder is the same."""
    if cache is None:
        return None
    cache.mkdir(parents=True, exist_ok=True)
    token = cache / f".sweep-{uuid4().hex}"
    token.touch()
    return token
