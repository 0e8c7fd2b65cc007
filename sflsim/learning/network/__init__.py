"""A network in two parts: split, modes, adapters, initial weights."""
