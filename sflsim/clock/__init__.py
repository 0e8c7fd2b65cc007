"""The time plane: devices, links, servers, FLOPs, bytes and seconds; the only home of simpy."""
