"""Workers on a Ray cluster (the extra `ray`): an actor each, replaced when it dies.

Every machine of the cluster needs sflsim installed. Ray is imported when a backend is made.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

from sflsim.errors import SflsimError
from sflsim.workers.backends import Event, Runner, Task

WAIT_S = 0.5
CONNECT_TIMEOUT_S = 10.0


class RayBackend:
    """Actors on the Ray cluster at `address`: "auto" finds one that runs, "local" starts one here."""

    def __init__(self, address: str, make_runner: Callable[[], Runner], workers: int | None) -> None:
        """Reach the cluster.

        Raises:
            SflsimError: Ray is not installed, or there is no cluster at this address.
        """
        self._ray = _ray()
        self._connected_here = not self._ray.is_initialized()
        if self._connected_here:
            _connect(self._ray, address, workers)
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._make_runner = make_runner
        self._actor = self._ray.remote(num_cpus=1, max_restarts=0)(RayWorker)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, Event] = {}  # what each reference stands for once it has its value
        self._started = 0

    def start_worker(self) -> int:
        """Start an actor as soon as the cluster has a CPU for it."""
        self._started += 1
        actor = self._actors[self._started] = self._actor.remote(self._make_runner)
        self._pending[actor.ready.remote()] = Event(self._started, "ready")
        return self._started

    def submit(self, worker: int, task: Task | None) -> None:
        """Send a task; an event tells if its actor is dead."""
        self._pending[self._actors[worker].run.remote(*(task or ()))] = Event(worker, "returned")

    def events(self) -> Iterator[Event]:
        """Yield results, and the deaths of actors.

        Raises:
            SflsimError: a worker has failed in what is no task's.
        """
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=WAIT_S)
        for reference in ready:
            yield self._event(reference, self._pending.pop(reference))

    def _event(self, reference: Any, event: Event) -> Event:
        try:
            return event._replace(value=self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            raise SflsimError(f"a Ray worker cannot work: {error.cause}") from error
        except self._ray.exceptions.RayError:
            del self._actors[event.worker]
            return Event(event.worker, "died")

    def close(self, busy: Collection[int]) -> None:
        """Kill the actors; leave the cluster if this pool has joined it."""
        for actor in self._actors.values():
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)
        self._actors.clear()
        self._pending.clear()
        if self._connected_here:
            self._ray.shutdown()


class RayWorker:
    """The actor: a runner on some machine of the cluster."""

    def __init__(self, make_runner: Callable[[], Runner]) -> None:
        self._runner = make_runner()

    def ready(self) -> None:
        """Return when the runner is made."""

    def run(self, *task: Any) -> Any:
        """Do a task."""
        return self._runner.run(lambda message: None, *task)


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
