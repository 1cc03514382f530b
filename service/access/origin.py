"""Where a request comes from: this machine, or another web site in somebody's browser.

Without keys everybody on this machine may do everything, and so could a web site that is open in a
browser here: by a form or a fetch to 127.0.0.1, or by a name of its own that it lets point to
127.0.0.1 (DNS rebinding). The first is told by what browsers say of a request's origin, the second
by the host that the request names.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def is_remote(client: str) -> bool:
    """Return whether the address of a client is another machine's; what is no address is not."""
    try:
        return not ip_address(client).is_loopback
    except ValueError:
        return False


def host_of(authority: str) -> str:
    """Return the host of ``host:port``; empty if there is none."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def is_cross_site(method: str, headers: Mapping[str, str], *, may_follow: bool = True) -> bool:
    """Return whether a browser sends a request for another site than ours.

    Programs say nothing of an origin.

    Args:
        method: of the request.
        headers: of the request, lower-case or case-insensitive.
        may_follow: whether following a link of another site is allowed, as to a page.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        follows = (
            may_follow and method in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
        )
        embedded = headers.get("sec-fetch-dest", "document") != "document"
        return site not in ("same-origin", "none") and (embedded or not follows)
    origin = headers.get("origin")
    if origin is None or method in SAFE_METHODS:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True
