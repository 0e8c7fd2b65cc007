"""Work over processes, here or on Ray. Knows callables, no scenario."""
