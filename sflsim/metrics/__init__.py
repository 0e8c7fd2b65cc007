"""What a run's tables say: attribution, critical path, summary. No pictures."""
