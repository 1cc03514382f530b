"""Hyperparameter search, on this machine with Optuna or as a tuning job on SageMaker."""
