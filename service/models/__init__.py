"""Models: which there are, which one is live, whether another one is better, and its promotion."""
