"""``augrank``: score an image, inspect or serve a bundle, score a whole catalogue."""

import typer

from augrank.cli.recommend import inspect, recommend
from augrank.cli.score import score
from augrank.cli.serve import serve

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Predict how likely an image is to convert, and which version of it would do better.",
)
app.command()(recommend)
app.command()(inspect)
app.command()(score)
app.command()(serve)
