"""``python -m augrank`` is the ``augrank`` command."""

from augrank.cli.app import app

app(prog_name="augrank")
