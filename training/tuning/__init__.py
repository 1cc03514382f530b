"""Searching for the options that learn best: here with Optuna, or as jobs on SageMaker."""
