"""Options of ``fit`` on the command line, generated from ``FitConfig``.

Flag, type, default and help text of each option come from its field. A command takes the options
that were given as one dictionary:

    @app.command()
    @with_fit_options
    def fit(fit_options: dict[str, Any], ...) -> None: ...
"""

import functools
import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from augrank.cli.command import command_errors
from augrank.cli.options import pairs
from training.config import FitConfig, flag_of, split_names

FIT_OPTIONS = "fit_options"
GIVEN = "COMMANDLINE"  # where typer took a value from


def with_fit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter ``fit_options`` of a command with an option for each field.

    The command receives the options that were given, ready for ``load_config``.
    """

    @functools.wraps(command)
    def run(typer_context: typer.Context, **values: Any) -> None:
        options = {name: values.pop(name) for name in FitConfig.model_fields}
        with command_errors():
            given = {
                name: _parsed(name, value)
                for name, value in options.items()
                if (source := typer_context.get_parameter_source(name)) and source.name == GIVEN
            }
        command(**{FIT_OPTIONS: given}, **values)

    parameters = [
        inspect.Parameter("typer_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    ]
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name == FIT_OPTIONS:
            parameters += _parameters()
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _parameters() -> list[inspect.Parameter]:
    """Return a typer parameter for each field, in panels."""
    return [
        _parameter(name, field, group.panel)
        for group in FitConfig.groups()
        for name, field in group.model_fields.items()
    ]


def _parameter(name: str, field: FieldInfo, panel: str) -> inspect.Parameter:
    kind, choices = _cli_type(field.annotation)
    default = None if field.default is PydanticUndefined else field.default
    help_text = field.description or ""
    if choices:
        help_text += f" One of: {', '.join(choices)}."
    flag = flag_of(name)
    declarations = [f"{flag}/--no-{flag.removeprefix('--')}"] if kind is bool else [flag]
    show_default: bool | str = default is not None
    if kind is bool and not isinstance(default, bool):
        show_default, default = str(default), None  # neither flag given: auto
    elif kind is list:
        show_default, default = False, None
    option = typer.Option(
        *declarations, help=help_text, rich_help_panel=panel, show_default=show_default
    )
    annotation = list[str] if kind is list else kind
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation | None, option],
    )


def _cli_type(annotation: Any) -> tuple[type, tuple[str, ...]]:
    """Return the type that typer parses, and the choices of a Literal.

    Lists are given as comma-separated text, dictionaries as repeated NAME=VALUE. Choices are
    checked by the model, whose messages name the option.
    """
    members = [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
    first = members[0]
    origin = get_origin(first)
    if origin is Literal:
        return str, get_args(first)
    if origin is tuple:
        return str, ()
    if origin is dict:
        return list, ()
    if first in (bool, int, float, str, Path):
        return first, ()
    raise TypeError(f"no command line option for {annotation}: extend _cli_type")


def _parsed(name: str, value: Any) -> Any:
    """Convert a typer value to that of the field."""
    annotation = FitConfig.model_fields[name].annotation
    if isinstance(value, list):
        return pairs(value, flag_of(name))
    if isinstance(value, str) and _cli_type(annotation) == (str, ()) and "tuple" in str(annotation):
        return split_names(value)
    return value
