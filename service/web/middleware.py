"""What surrounds the routes, from the outside to the inside.

SecurityHeaders > Observation > Authentication > RateLimit > Admission > BodyLimit > routes

Every response has headers, an id and a metric. Who asks is known before the rate limit, which is
for each key, and refused before a body is read. Keys that do not hold have a limit of their own,
for each address, before they are looked up.
"""

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from service.access.authenticator import Authenticator
from service.settings import ServiceSettings
from service.web.authentication import Admission, Authentication
from service.web.body_limit import BodyLimit
from service.web.observability import Observation
from service.web.rate_limit import RateLimit
from service.web.security import SecurityHeaders


def surround(app: FastAPI, settings: ServiceSettings, authenticator: Authenticator) -> None:
    """Add all middleware to an app: what is added first is the innermost."""
    app.add_middleware(
        BodyLimit,
        limit_bytes=int(settings.max_request_mb * 2**20),
        json_bytes=int(settings.max_json_mb * 2**20),
    )
    app.add_middleware(Admission, hosts=settings.allowed_hosts)
    app.add_middleware(RateLimit, per_s=settings.requests_per_s, burst=settings.requests_burst)
    app.add_middleware(Authentication, authenticator=authenticator)
    app.state.metrics = CollectorRegistry()
    app.add_middleware(Observation, registry=app.state.metrics)
    app.add_middleware(SecurityHeaders)
