"""Questions about a scenario or a machine without a run: memory, labels per client, calibration."""
