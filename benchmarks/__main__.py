"""``python -m benchmarks``."""

import signal

from benchmarks.cli.app import app

# Servers under load end with the command, also where it is terminated.
signal.signal(signal.SIGTERM, signal.default_int_handler)
app(prog_name="python -m benchmarks")
