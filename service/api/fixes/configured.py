"""Routes of the values that an advertiser has configured for all of its images."""

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from augrank.models.tags import check_configured
from service.access.advertisers import check_known
from service.api.common import (
    ERRORS,
    AdvertiserQuery,
    Corrector,
    JsonRoute,
    Name,
    Reader,
)
from service.fixes import configured
from service.parts import Parts, parts_of

MAX_VALUES = 100
router = APIRouter(prefix="/v1/configured", responses=ERRORS, route_class=JsonRoute)


class ConfigureRequest(BaseModel):
    """The values that an advertiser configures."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"advertiser": "dealer_007", "values": {"colour": "red"}, "who": "ana"}]
        },
    )

    advertiser: Name
    values: dict[str, str] = Field(max_length=MAX_VALUES, description="By label; all there are.")
    who: Name | None = Field(None, description="Who says so; a key's holder is known without.")


class ConfiguredRow(BaseModel):
    """A value, and who configured it."""

    label: str
    value: str
    who: str
    at: datetime


class ConfiguredValues(BaseModel):
    """What an advertiser has configured."""

    advertiser: str
    values: list[ConfiguredRow]


@router.get("", summary="What an advertiser has configured")
def values(request: Request, identity: Reader, advertiser: AdvertiserQuery) -> ConfiguredValues:
    """List the values that win over what the model says, for all images of an advertiser."""
    parts = parts_of(request)
    check_known(parts.database, identity, advertiser)
    return _values(parts, advertiser)


@router.put("", summary="Configure values of an advertiser")
def configure(request: Request, identity: Corrector, body: ConfigureRequest) -> ConfiguredValues:
    """Replace the values of an advertiser; without any, the model decides again.

    They hold for tags, from the next answer on, also about pictures that were seen before. What a
    request or batch configures wins over them, and so does a fix.
    """
    identity.check(body.advertiser)
    parts = parts_of(request)
    backend = parts.classifier.backend
    given = check_configured(backend.tags, backend.labels, body.values)
    with parts.database.writes() as session:
        configured.configure(session, body.advertiser, given, identity.named(body.who))
    return _values(parts, body.advertiser)


def _values(parts: Parts, advertiser: str) -> ConfiguredValues:
    with parts.database.reads() as session:
        rows = configured.rows_of(session, advertiser)
        return ConfiguredValues(
            advertiser=advertiser,
            values=[
                ConfiguredRow(label=row.label, value=row.value, who=row.who, at=row.at)
                for row in rows
            ],
        )
