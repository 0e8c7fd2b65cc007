"""What the command line shows on a terminal: progress, the catalog."""
