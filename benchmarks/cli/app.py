"""``python -m benchmarks``: every command prints tables, then one line of JSON."""

import typer

from benchmarks.cli.classify import classify
from benchmarks.cli.documents import document, reproduce
from benchmarks.cli.gpu import gpu
from benchmarks.cli.graphs import graphs
from benchmarks.cli.hostile import hostile
from benchmarks.cli.instances import instances, refresh_prices
from benchmarks.cli.labels import labels
from benchmarks.cli.scale import scale
from benchmarks.cli.service import durability, service
from benchmarks.cli.serving import pipeline, serving
from benchmarks.cli.training import histories, neighbours, training
from benchmarks.cli.trust import trust

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Time training and serving; check what answers claim, and what a server bears.",
)
COMMANDS = (
    *(pipeline, serving, classify, service, training, histories, neighbours, gpu, instances),
    *(scale, trust, graphs, labels, hostile, durability, document, reproduce),
)
for command in COMMANDS:
    app.command()(command)
app.command("prices")(refresh_prices)


@app.callback()
def main() -> None:
    """Time training and serving; check what answers claim, and what a server bears."""
