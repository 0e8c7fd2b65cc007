"""The algorithms as real processes over real sockets, to put a simulation beside: no part of a simulation.

A server process and one process per client exchange the tensors of the task that the simulation
trains, on the same keyed batches and directions. Devices are slowed and links shaped as a scenario
says.
"""
