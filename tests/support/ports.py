"""Ports for servers that cannot choose one themselves."""

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 20_000
_random = random.SystemRandom()  # pytest-randomly seeds the other alike in all workers


def free_port() -> int:
    """Return a port on loopback that nobody listens on.

    It is below those that the system gives to connections and to servers that ask for any port, so
    that none of them takes it before it is used.
    """
    end = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768
    while True:
        port = _random.randrange(_LOWEST, end)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
