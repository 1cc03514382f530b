"""The command line of the benchmarks; imported by ``benchmarks.__main__`` alone."""
