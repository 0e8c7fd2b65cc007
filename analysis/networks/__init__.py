"""Networks that the studies need and sflsim does not have."""
