"""``python -m service``: serves, unless the first word names another command."""

from typing import Any

import typer
from typer.core import TyperGroup

from service.commands import fixes, keys, models, outcomes
from service.commands.retrain import retrain
from service.commands.serve import serve


class _ServesByDefault(TyperGroup):
    """Takes arguments that begin with no command's name as those of ``serve``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments."""
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["serve", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ServesByDefault,
    add_completion=False,
    no_args_is_help=True,
    help="Serve models with a memory: answers are kept, people correct them, models learn on.\n\n"
    "python -m service BUNDLE is short for python -m service serve BUNDLE.",
)
app.command()(serve)
app.command()(retrain)
app.add_typer(fixes.app, name="fixes")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(outcomes.app, name="outcomes")
