"""The command line of the benchmarks; imported only by ``benchmarks.__main__``."""
