"""Data sets behind one port, and how their samples are dealt to the clients."""
