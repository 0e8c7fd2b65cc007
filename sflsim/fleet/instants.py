"""The same instant: one rule for times that differ only by the rounding of their sums.

Ten rounds of 0.2 s end at 1.9999999999999998 s, and `stop: {time: 2 s}` means all ten of them. Whenever
the clock meets a time of the scenario (stop, evaluation, deadline, event, trace, availability), a time
within `slack_s` of it is the same. A sum of n terms errs by at most n roundings of 1.1e-16 each, so a
million rounds stay well below `RELATIVE_SLACK`.
"""

from __future__ import annotations

from math import ulp

RELATIVE_SLACK = 1e-9
"""Of the time since the start of a count (of the run, or of a round with a deadline)."""
ROUNDINGS = 8  # of the clock itself; they matter if the count began late


def slack_s(time_s: float, since_s: float = 0.0) -> float:
    """Return the largest distance from `time_s` of the same instant, counted from `since_s`."""
    return RELATIVE_SLACK * (time_s - since_s) + ROUNDINGS * ulp(time_s)


def settled_s(now_s: float) -> float:
    """Return the end of the instant of `now_s`: what starts or ends by then does so now."""
    return now_s + slack_s(now_s)
