"""``python -m training``: train on images and outcomes, and write a run directory."""

import typer

from augrank.cli.options import spread
from training.cli import audit, download, fit, jobs, simulate
from training.cli.options import with_fit_options

app = typer.Typer(
    help="Train a model from images and outcomes.\n\n"
    "Try it without data of your own:\n\n"
    "python -m training render --kind sneaker --count 300 --out data/sneakers\n\n"
    "python -m training simulate --manifest data/sneakers/manifest.csv "
    "--out data/sneakers/history.csv --sends 2\n\n"
    "python -m training fit --manifest data/sneakers/history.csv --out runs/sneakers "
    "--image-size 64",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(with_fit_options(fit.fit))
app.command()(audit.audit)
app.command()(simulate.simulate)
app.command()(simulate.render)
app.command()(download.download)
app.command()(spread(jobs.tune))
app.command()(spread(jobs.submit))


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m training")
