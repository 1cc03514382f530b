"""``augrank``: score or classify images, inspect or serve a bundle, score a whole catalogue."""

import typer

from augrank.cli.classify import classify
from augrank.cli.inspect import inspect
from augrank.cli.recommend import recommend
from augrank.cli.score import score
from augrank.cli.serve import serve

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Predict how likely an image is to convert, which version of it would do better, and what "
    "it shows.",
)
app.command()(recommend)
app.command()(classify)
app.command()(inspect)
app.command()(score)
app.command()(serve)
