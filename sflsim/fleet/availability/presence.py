"""Traces of availability: profiles of ones (there) and zeros (away) from a file."""

from __future__ import annotations

from sflsim.fleet.availability.on_off import ALWAYS, Timeline, Traced
from sflsim.fleet.traces import TraceBase
from sflsim.mistakes import mistake_at


class PresenceTrace(TraceBase):
    """What the kinds of availability have in common that come from a file."""

    def timeline(self, seed: int, device_name: str) -> Timeline:
        """Return the timeline of one device under the scenario seed."""
        return Traced(self.profile(seed, device_name))

    def envelope(self) -> Timeline:
        """Return when any device can be available: as a single trace says, else at all times."""
        return Traced(next(iter(self._traces.values()))) if len(self._traces) == 1 else ALWAYS

    def refuse_nobody(self, found: str, allowed: str) -> None:
        """Refuse traces in which no device is ever available.

        Raises:
            ValidationError: at `file`, there is none.
        """
        if not any(trace.values.any() for trace in self._traces.values()):
            raise mistake_at("file", "has nobody there", found, allowed)
