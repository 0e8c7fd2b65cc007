"""Data sets behind one port, and how their samples are partitioned among the clients."""
