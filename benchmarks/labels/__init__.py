"""What classifiers tell of rendered images that training never saw."""
