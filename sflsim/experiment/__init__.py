"""Scenario -> every variant and seed -> Run, and a run's folder."""
