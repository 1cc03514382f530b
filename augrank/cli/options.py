"""Sets of options that several commands share, and NAME=VALUE options.

A set is a dataclass: a command takes it as one parameter, and ``spread`` gives the command line
its fields:

    @app.command()
    @spread
    def deploy(name: Name, container: ContainerOptions, account: AccountOptions) -> None: ...
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from augrank.errors import BadRequest


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the fields of its option sets as separate parameters."""
    sets = {
        name: hint
        for name, hint in get_type_hints(command).items()
        if is_dataclass(hint) and isinstance(hint, type)
    }

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, options in sets.items():
            given[name] = options(**{f.name: given.pop(f.name) for f in fields(options)})
        command(**given)

    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        spread_out = [parameter]
        if parameter.name in sets:
            spread_out = list(inspect.signature(sets[parameter.name]).parameters.values())
        parameters += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in spread_out]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Parse ``NAME=VALUE`` options into a dictionary.

    Raises:
        BadRequest: an option is not of this form.
    """
    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadRequest(f"{option} does not fit", expected="NAME=VALUE", got=repr(text))
        found[name] = value
    return found
