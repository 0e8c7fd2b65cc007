"""The search for the best deployment: points of a plan's space, their objectives, the Pareto front."""
