"""The rows of a run's tables, each defined once: the clock records them, tables and reports are made of them.

A table has the columns `variant` and `seed`, then the fields of its rows (see `sflsim.record.tables`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LATENCY = "latency"
"""The activity of a message between its last byte and its arrival; its span follows the message's."""
ABSENCE = "absence"
"""The activity of a client that is away and will go on when it is back."""
CONTRIBUTION = "contribution"
"""The activity of a whole contribution to an asynchronous algorithm, at the server."""


class Span(NamedTuple):
    """One activity of one actor from start to end.

    As recorded, the `round` of an asynchronous client is the number of its contribution; the table has the
    next update of the global model instead.
    """

    actor: str
    activity: str
    start_s: float
    end_s: float
    round: int
    client: str
    bytes: float = 0.0
    flop: float = 0.0
    active_energy_j: float = 0.0
    outcome: str = "done"


class LinkThroughput(NamedTuple):
    """The sum of the rates through one shared link, from `time_s` until its next row."""

    link: str
    time_s: float
    bytes_per_s: float


class Evaluation(NamedTuple):
    """The global model at one time, and what all clients and the server have spent until then."""

    time_s: float
    round: int
    step: int
    accuracy: float
    loss: float
    uplink_bytes: float
    downlink_bytes: float
    client_busy_s: float
    server_busy_s: float
    energy_j: float

    @property
    def spent(self) -> dict[str, float]:
        """Return what a run may be limited in: its time in s, bytes (up and down) and energy in J."""
        both_bytes = self.uplink_bytes + self.downlink_bytes
        return {"time": self.time_s, "bytes": both_bytes, "energy": self.energy_j}


class ClientSetup(NamedTuple):
    """Who a client is, before its work is added up; `ClientRow` says what the figures are."""

    client: str
    group: str
    flop_per_s: float
    up_bytes_per_s: float
    down_bytes_per_s: float
    memory_bytes: float
    samples: float
    cut: int
    batch_size: float
    idle_j: float
    peak_memory_bytes: float
    client_accuracy: float


class ClientWork(NamedTuple):
    """What a client did over a run, added up from its spans."""

    compute_s: float = 0.0
    slowdown_s: float = 0.0
    uplink_s: float = 0.0
    downlink_s: float = 0.0
    wait_s: float = 0.0
    absence_s: float = 0.0
    uplink_bytes: float = 0.0
    downlink_bytes: float = 0.0
    flop: float = 0.0
    active_energy_j: float = 0.0
    wasted_s: float = 0.0
    wasted_bytes: float = 0.0
    rounds: int = 0
    dropped: int = 0


class ClientRow(NamedTuple):
    """One client of a run: its setup and its work; `energy_j` is its active and its idle energy.

    Rates are those of the first message (inf where unlimited); memory and samples are NaN where the scenario
    does not say and where no data is dealt. Where the accuracy of each client is wanted, those that took no
    part have a row, too.
    """

    client: str
    group: str
    flop_per_s: float
    up_bytes_per_s: float
    down_bytes_per_s: float
    memory_bytes: float
    samples: float
    cut: int
    batch_size: float
    rounds: int
    dropped: int
    compute_s: float
    slowdown_s: float
    uplink_s: float
    downlink_s: float
    wait_s: float
    absence_s: float
    uplink_bytes: float
    downlink_bytes: float
    flop: float
    energy_j: float
    idle_j: float
    wasted_s: float
    wasted_bytes: float
    peak_memory_bytes: float
    client_accuracy: float


class RunRow(NamedTuple):
    """One variant under one seed."""

    algorithm: str
    status: str
    reason: str
    rounds: int
    time_s: float
    server_busy_s: float
    client_memory_bytes: float
    server_memory_bytes: float
    dropped: int
    wasted_s: float
    wasted_bytes: float
    left_out: str


@dataclass(frozen=True)
class TimedRun:
    """One run on the clock, as a plan reads it; arrays have a row for each evaluation."""

    seed: int
    rounds: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.float64]
    energy_j: npt.NDArray[np.float64]
    up_bytes: npt.NDArray[np.float64]
    """By group of the fleet: [evaluations, groups]."""
    down_bytes: npt.NDArray[np.float64]
    busiest_bytes: npt.NDArray[np.float64]
    """Up and down, of the client of each group that has most so far: [evaluations, groups]."""
    memory_share: float
    """The largest share of its memory that the training takes on a device."""
    memory_bytes: tuple[float, ...]
    """By group: the most that the training takes on one of its devices; 0 where it does not train."""
    server_memory_bytes: float
    server_busy_s: npt.NDArray[np.float64]
    """Seconds of slots."""
