"""``python -m benchmarks hostile``: requests that mean no good, and what a server bears."""
