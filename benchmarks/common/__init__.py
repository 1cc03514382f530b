"""Code shared by all benchmarks: load generation, statistics, the machine, Markdown."""
