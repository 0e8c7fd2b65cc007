"""When devices are there: on-off processes, daily windows, traces, scripted events."""
