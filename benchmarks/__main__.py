"""``python -m benchmarks``."""

from benchmarks.cli.app import app

app(prog_name="python -m benchmarks")
