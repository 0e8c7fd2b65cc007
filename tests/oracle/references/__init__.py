"""Literal references of the algorithms, one file each, written from one digest of the papers alone.

The digest, ALGORITHMS.md, is not part of the repository: it states each paper's steps and costs.
"""
