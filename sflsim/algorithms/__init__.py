"""The algorithms: each file holds a Config, a protocol (who does what when) and its math.

The only place where the two planes meet: imports clock, learning, fleet and below. Torch is
imported inside the math, so that a scenario can be read and timed without it.
"""
