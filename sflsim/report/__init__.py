"""What people look at: the summary table and the pictures, made from a run's tables alone.

May import pandas, numpy, matplotlib and rich, and `sflsim.errors` and `sflsim.record`; never torch or simpy.
"""
