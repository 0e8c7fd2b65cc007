"""ZO SplitFed (AL 29): MU-SplitFed with tau = 1."""

from __future__ import annotations

from oracle.references import mu_splitfed
from oracle.references.common import Result, Rounds, Split
from oracle.references.mu_splitfed import ClientDirection, ServerDirection, Settings


def reference(
    split: Split, rounds: Rounds, settings: Settings, u_c: ClientDirection, u_s: ServerDirection
) -> Result:
    """Return what is learned, as MU-SplitFed does."""
    tau = [[1] * len(ids) for ids in rounds.participants]
    return mu_splitfed.reference(split, rounds, settings, tau, u_c, u_s)
