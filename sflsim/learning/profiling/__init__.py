"""What a network costs: FLOP, bytes and memory, from the model; rates of a machine."""
