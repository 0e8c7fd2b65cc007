"""What a plan says in words: recommendation, alternatives, and why nothing is feasible."""
