"""The graph of calls: keys, execution, the stores of results."""
