"""Which paths need no key, and which are for programs."""

STATIC, LOGIN, METRICS = "/static", "/login", "/metrics"
LARGE_JSON = frozenset({"/v1/batches", "/v1/outcomes"})  # thousands of URLs, or of reports
PROBES = frozenset({"/healthz", "/readyz"})


def is_free(path: str) -> bool:
    """Return whether anybody may have it, known or not, at any rate: probes and static files."""
    return path in PROBES or path.startswith(f"{STATIC}/")


def is_for_programs(path: str) -> bool:
    """Return whether programs ask for it: they get errors as JSON, and no login page."""
    return path.startswith("/v1/") or path == METRICS or path in PROBES
