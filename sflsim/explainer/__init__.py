"""Why a run takes the time it takes: critical path, bottleneck, what-ifs."""
