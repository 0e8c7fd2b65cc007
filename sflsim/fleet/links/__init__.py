"""Links of devices: rates, latency, jitter, loss, access points, the Shannon model."""
