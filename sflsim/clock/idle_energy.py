"""What clients draw merely for being awake while they take part: idle power x time.

A change of one client costs O(1), and so does reading the sum over all.
"""

from __future__ import annotations

from sflsim.clock.engine import Environment


class Meter:
    """The idle energy of all clients that take part, up to now."""

    __slots__ = ("_at_s", "_env", "_idle_j", "_power_w")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._at_s = 0.0
        self._idle_j = 0.0
        self._power_w = 0.0

    @property
    def idle_j(self) -> float:
        """Return the energy so far."""
        now = self._env.now
        if now > self._at_s:
            self._idle_j += self._power_w * (now - self._at_s)
            self._at_s = now
        return self._idle_j

    def change(self, by_w: float) -> None:
        """Let `by_w` more (or less) be drawn from now on."""
        if by_w:
            self._idle_j = self.idle_j
            self._power_w += by_w
