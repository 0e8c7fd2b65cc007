"""The frozen-client control (AL 71): SplitFed V1 with x_c never changed; only the server part learns."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.references import splitfed_v1
from oracle.references.common import Opt, Result, Rounds, Split


@dataclass(frozen=True)
class Settings:
    """Local iterations and the server's optimizer."""

    E: int
    opt_s: Opt


def reference(split: Split, rounds: Rounds, settings: Settings) -> Result:
    """Return what is learned, as SplitFed V1 does."""
    still = splitfed_v1.Settings(settings.E, Opt(lr=0.0), settings.opt_s, train_client=False)
    return splitfed_v1.reference(split, rounds, still)
