"""Read options from a YAML or TOML file and the command line, with messages in their words."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from augrank.contracts.validation import first_fault
from augrank.errors import DataError, one_of, reason
from training.config.fit_config import FitConfig, flag_of


def with_defaults(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded options with the defaults of options that are newer than the record."""
    fields = FitConfig.model_fields
    return {name: fields[name].default for name in new if name in fields} | dict(old)


def load_config(file: Path | None, overrides: Mapping[str, Any]) -> FitConfig:
    """Merge the options of a file and of the command line, and validate them.

    Args:
        file: YAML or TOML, or None. Paths in it are relative to the working directory.
        overrides: options of the command line; None means not given.

    Raises:
        DataError: an unknown option (the message suggests one), an invalid value, or a missing
            file.
    """
    content = _read(file) if file is not None else {}
    given = {key: value for key, value in overrides.items() if value is not None}
    options = named_options(content, str(file)) | given
    try:
        return FitConfig.model_validate(options)
    except ValidationError as error:
        fault = first_fault(error)
        name = fault.name.split(".")[0]
        if fault.kind == "missing":
            raise DataError(
                f"{name} is missing", remedy=f"Give it with {flag_of(name)}."
            ) from error
        if not name:
            raise DataError(fault.expected, remedy="See python -m training fit --help.") from error
        raise DataError(
            f"{_as_typed(name, content, given, file)} does not fit",
            expected=fault.expected,
            got=repr(fault.value),
        ) from error


def _as_typed(
    name: str, content: Mapping[str, Any], given: Mapping[str, Any], file: Path | None
) -> str:
    """Return an option as the user typed it: ``--image-size``, or ``image-size in fit.yaml``."""
    typed = {key.replace("-", "_"): key for key in content}
    return f"{typed[name]} in {file}" if name in typed and name not in given else flag_of(name)


def read_options(file: Path | None) -> dict[str, Any]:
    """Read the options of a file; none without a file.

    Raises:
        DataError: the file cannot be read, or has an unknown option.
    """
    return named_options(_read(file), str(file)) if file is not None else {}


def named_options(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Convert options as a user writes them to the fields of FitConfig.

    Args:
        content: options by name; hyphens are accepted, and comma-separated text for lists.
        source: where they come from, for messages.

    Raises:
        DataError: an unknown option (the message suggests one).
    """
    options = {key.replace("-", "_"): value for key, value in content.items()}
    for key in options:
        if key not in FitConfig.model_fields:
            known = [*FitConfig.model_fields]
            raise DataError(f"{source} has an unknown option", expected=one_of(known, key), got=key)
    for key in ("targets", "context", "graphs", "labels", "ranks", "group"):
        if isinstance(options.get(key), str):
            options[key] = split_names(options[key])
    return options


def read_value(name: str, text: str) -> Any:
    """Parse an option's value as YAML.

    Raises:
        DataError: it is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(
            f"--set {name} does not fit", expected="a number, a word or a YAML list", got=repr(text)
        ) from error


def split_names(text: str) -> tuple[str, ...]:
    """Split ``a, b`` into ``("a", "b")``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        content = tomllib.loads(text) if file.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise DataError(f"{file} cannot be read", got=error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} is neither valid YAML nor valid TOML",
            got=reason(error),
            remedy="Name it .toml if it is TOML.",
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise DataError(f"{file} does not fit", expected="options by name", got=str(content)[:60])
    return {str(key): value for key, value in content.items()}
