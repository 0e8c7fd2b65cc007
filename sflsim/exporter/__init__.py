"""Runs, sweeps and plans in the forms of other tools: CSV, LaTeX, TensorBoard, MLflow, trackio."""
