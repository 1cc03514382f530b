"""``python -m augrank`` is the ``augrank`` command."""

from augrank.cli import app

app(prog_name="augrank")
