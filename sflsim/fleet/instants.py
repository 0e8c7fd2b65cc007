"""The same instant: one rule for times that are equal but for the rounding of their sums.

Ten rounds of 0.2 s end at 1.9999999999999998 s, and `stop: {time: 2 s}` means all ten of them. Wherever
the clock meets a time that somebody has written (stop, evaluation, deadline, event, trace, availability), a
time within `slack_s` of it is the same. Adding up n terms errs by at most n roundings of 1.1e-16 each, so
that a million rounds stay well below `SAME`.
"""

from __future__ import annotations

from math import ulp

SAME = 1e-9
"""Share of the time since the start of a count (of the run, of a round with a deadline)."""
ROUNDINGS = 8  # of the clock itself, which weigh more where the count began late


def slack_s(time_s: float, since_s: float = 0.0) -> float:
    """Return how far from `time_s` another time may be to be the same, if both are counted from `since_s`."""
    return SAME * (time_s - since_s) + ROUNDINGS * ulp(time_s)


def settled_s(now_s: float) -> float:
    """Return the end of the instant of `now_s`: what begins or ends by then has done so now."""
    return now_s + slack_s(now_s)
