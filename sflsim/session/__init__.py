"""The runs of one scenario in one process: (variant, seed) -> `Outcome`."""

from sflsim.session.cache import SessionCache
from sflsim.session.doubts import doubts
from sflsim.session.options import Options
from sflsim.session.outcome import Outcome
from sflsim.session.requirements import Requirements
from sflsim.session.rounds import has_rounds, unlike_rounds
from sflsim.session.session import Session

__all__ = [
    "Options",
    "Outcome",
    "Requirements",
    "Session",
    "SessionCache",
    "doubts",
    "has_rounds",
    "unlike_rounds",
]
