"""Literal references of the algorithms, one file each, written from two digests of the papers alone.

The digests, ALGORITHMS.md and MECHANISMS.md, are not part of the repository: they state each paper's steps
and costs. What MECHANISMS.md leaves open is read as in the reference pages, which the code's author wrote.
"""
