"""ZO SplitFed, the "vanilla SplitFed" of the MU-SplitFed paper: MU-SplitFed with tau = 1.

The server takes one zeroth-order step where MU-SplitFed takes tau; see `mu_splitfed` for the rest.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from sflsim.algorithms.mu_splitfed import MuSplitFed, ZerothOrderConfig


class ZoSplitFed(MuSplitFed):
    """SplitFed with zeroth-order steps on both sides."""

    when_diverged = "lower eta_g, eta_s or eta_c"

    class Config(ZerothOrderConfig):
        """The symbols of MU-SplitFed without tau, which is 1."""

        algorithm: Literal["zo-splitfed"] = "zo-splitfed"
        tau: ClassVar[int] = 1
        tau_max: ClassVar[int] = 1
