"""A run's tables and its folder on disk; imports pandas and pyarrow, nothing of the planes."""
