"""Random amounts: distributions, bounded and unbounded, and amounts that hold them."""
