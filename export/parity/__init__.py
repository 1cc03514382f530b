"""The parity gate: an export must answer as the trained model does."""
