"""What answers: bundles in this process, or servers."""
