"""The fleet: devices, links, stragglers, and who takes part in a round.

Knows FLOP/s, bytes per second, seconds and watts.
"""
