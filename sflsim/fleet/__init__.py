"""The fleet: devices, links, stragglers, and who takes part in a round.

Knows FLOP/s, bytes per second, seconds and watts. Imports units, streams, errors and the
registry of kinds; never the clock, never learning, never torch or simpy.
"""
