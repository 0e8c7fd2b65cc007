"""The runs of one scenario in one process: (variant, seed) -> `Outcome`."""

from sflsim.session.cache import SessionCache
from sflsim.session.fitted import unlike_networks
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
    "has_rounds",
    "unlike_networks",
    "unlike_rounds",
]
