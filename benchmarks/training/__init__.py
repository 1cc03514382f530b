"""Training benchmarks: the machine's ceiling, the input path, and a plain script."""
