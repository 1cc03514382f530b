"""The example catalogue and the demo that trains on it."""
