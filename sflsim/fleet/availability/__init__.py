"""When devices are available: on/off processes, daily windows, traces, scheduled events."""
