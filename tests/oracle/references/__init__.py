"""Literal references of the algorithms, one file each, written from shared/ALGORITHMS.md alone."""
