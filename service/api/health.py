"""Whether the service lives, is ready, and what it has done."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from service.api.common import ERRORS, Reader
from service.backends.remote.transport import OnServer
from service.errors import Forbidden
from service.parts import parts_of

router = APIRouter()


@router.get("/healthz", summary="Whether the process lives")
def healthz() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "ok"}


@router.get("/readyz", summary="Whether requests can be answered")
def readyz(request: Request, response: Response) -> dict[str, str]:
    """Answer 503 while the database cannot be reached.

    Where the models are on a server, `backend` says whether it has answered the last request. While
    it is `unavailable` the service stays ready: what was kept is still answered, and corrected.
    """
    parts = parts_of(request)
    try:
        parts.database.ping()
    except SQLAlchemyError as error:
        response.status_code = 503
        return {"status": "unavailable", "database": type(error).__name__}
    lives = [each.live.current for each in (parts.classify, parts.recommend) if each is not None]
    servers = [each.available for each in lives if isinstance(each, OnServer)]
    if not servers:
        return {"status": "ready"}
    return {"status": "ready", "backend": "available" if all(servers) else "unavailable"}


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response, responses=ERRORS)
def metrics(request: Request, identity: Reader) -> Response:
    """Return counters and latencies, which are about all advertisers."""
    if identity.advertiser is not None:
        raise Forbidden(
            "this key does not show metrics",
            expected="a key for all advertisers; the role read is enough",
            got=f"a key for {identity.advertiser}",
        )
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)
