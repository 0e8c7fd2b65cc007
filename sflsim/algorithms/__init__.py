"""The algorithms: each file holds a Config, a protocol (generators on the clock) and its math.

Torch is imported inside the math, so that a scenario can be read and timed without it.
"""
