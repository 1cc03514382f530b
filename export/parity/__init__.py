"""The parity gate: what is served must be what was trained."""
