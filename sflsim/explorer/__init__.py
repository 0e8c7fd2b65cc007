"""The report of a scenario, alive: a page on this machine whose settings change what is timed and shown."""
