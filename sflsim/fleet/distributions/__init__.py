"""Distributions of random amounts: bounded, unbounded and empirical."""
