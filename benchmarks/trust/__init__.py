"""Is an answer right, and as sure as it says? Simulated worlds whose truth is known."""
