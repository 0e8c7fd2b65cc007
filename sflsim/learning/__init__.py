"""The learning plane: parameters, batches, seeds and losses; never simpy, never a time.

`config`, `costs` and `lineage` import no torch at the top; everything else here may.
"""
