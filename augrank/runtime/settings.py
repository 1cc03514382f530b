"""The environment variables that a worker reads, all defined here."""

import json
from typing import Annotated, Any, Self, get_args

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from augrank.contracts.run import Precision
from augrank.contracts.validation import first_fault
from augrank.errors import ServerError, one_of
from augrank.models.embedding_cache import DEFAULT_MB
from augrank.models.engines import Device
from augrank.tasks.base import EngineOptions

THREADS, PRECISION, DEVICE = "AUGRANK_THREADS", "AUGRANK_PRECISION", "AUGRANK_DEVICE"
SPIN, CACHE_MB = "AUGRANK_SPIN", "AUGRANK_CACHE_MB"
EMBEDDING_CACHE_MB = "AUGRANK_EMBEDDING_CACHE_MB"
FIELDS, ERRORS_AS_200 = "AUGRANK_FIELDS", "AUGRANK_ERRORS_AS_200"
ALLOW_URLS = "AUGRANK_ALLOW_URLS"


def _flag(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("0", "1"):
            raise ValueError("expected 0 or 1")
        return value == "1"
    return value


def _digits(value: Any) -> Any:
    if isinstance(value, str) and not value.isdecimal():
        raise ValueError("expected a whole number")
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]  # 0 or 1, and nothing else that means true or false
WholeNumber = Annotated[int, BeforeValidator(_digits)]


class EnvironmentSettings(BaseSettings):
    """Settings that are read from environment variables; an empty one counts as unset.

    A field's description gives the accepted values, for messages.
    """

    # Fields are read by their aliases alone: prefix and case keep out THREADS or PORT, which
    # some other program may have set.
    model_config = SettingsConfigDict(
        env_prefix="AUGRANK_",
        case_sensitive=True,
        env_ignore_empty=True,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
    )

    @classmethod
    def from_environment(cls) -> Self:
        """Read the variables.

        Raises:
            ServerError: a variable's value is invalid; gives its name and the accepted values.
        """
        try:
            return cls()
        except ValidationError as error:
            fault = first_fault(error)
            got = str(fault.value)
            raise ServerError(
                f"{fault.name} does not fit", expected=cls._expected(fault.name, got), got=got
            ) from error

    @classmethod
    def _expected(cls, variable: str, got: str) -> str:
        for field in cls.model_fields.values():
            alias = field.validation_alias
            names = alias.choices if isinstance(alias, AliasChoices) else [alias]
            if variable in names:
                return field.description or one_of(_choices(field.annotation), got)
        return "another value"


class WorkerSettings(EnvironmentSettings):
    """Settings of one worker; None leaves the choice to the machine or the bundle."""

    threads: WholeNumber | None = Field(
        None, ge=1, validation_alias=THREADS, description="a whole number from 1"
    )
    precision: Precision | None = Field(None, validation_alias=PRECISION)
    device: Device = Field("auto", validation_alias=DEVICE)
    spin: Flag = Field(False, validation_alias=SPIN, description="0 or 1")
    cache_mb: WholeNumber = Field(
        0, ge=0, validation_alias=CACHE_MB, description="a whole number of megabytes from 0"
    )
    embedding_cache_mb: WholeNumber = Field(
        DEFAULT_MB,
        ge=0,
        validation_alias=EMBEDDING_CACHE_MB,
        description="a whole number of megabytes from 0",
    )
    # defaults of requests
    request_fields: Annotated[dict[str, Any], NoDecode] = Field(
        default_factory=dict,
        validation_alias=FIELDS,
        description='a JSON object, {"target": "open_rate"}',
    )
    # for batch transform, which fails at the first other status
    errors_as_200: Flag = Field(False, validation_alias=ERRORS_AS_200, description="0 or 1")

    # requests may name images by URL, which are downloaded from public addresses
    allow_urls: Flag = Field(False, validation_alias=ALLOW_URLS, description="0 or 1")

    @field_validator("request_fields", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def engine_options(self, threads: int) -> EngineOptions:
        """Return the backbone's options; ``threads`` if the environment does not set a number."""
        return EngineOptions(
            self.threads or threads,
            self.precision,
            self.device,
            self.spin,
            self.embedding_cache_mb,
        )


def _choices(annotation: Any) -> list[str]:
    """Return the strings of a ``Literal``, also inside a union."""
    arguments = get_args(annotation)
    return [a for a in arguments if isinstance(a, str)] + [
        choice for a in arguments if not isinstance(a, str) for choice in _choices(a)
    ]
