"""Idle energy: what clients draw merely for being on while they take part, idle power x time.

Changing the power costs O(1), and so does reading the sum over all clients.
"""

from __future__ import annotations

from sflsim.clock.engine import Environment


class IdleEnergy:
    """The idle energy of all clients that take part, up to now."""

    __slots__ = ("_env", "_idle_j", "_power_w", "_updated_s")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._updated_s = 0.0
        self._idle_j = 0.0
        self._power_w = 0.0

    @property
    def idle_j(self) -> float:
        """Return the energy so far; reading it changes no later figure."""
        return self._idle_j + self._power_w * (self._env.now - self._updated_s)

    def add_power(self, power_w: float) -> None:
        """Let `power_w` more be drawn from now on; less if negative."""
        if power_w:
            self._idle_j, self._updated_s = self.idle_j, self._env.now
            self._power_w += power_w
