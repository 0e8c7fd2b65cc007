"""Which clients take part in a round: a port for policies of selection, and one file for each policy."""
