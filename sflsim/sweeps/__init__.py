"""Many scenarios made from one: the grid, its runs and their table."""
