"""The time plane: devices, links, servers, FLOPs, bytes and seconds; the only home of simpy.

Imports fleet, units, streams and errors; never torch and nothing of learning.
"""
