"""TCP ports of this machine."""

import errno
import itertools
import os
import secrets
import socket

# Below the ports that a system gives to connections, and to servers that ask for any (ip_local_port_range in ip(7)), so
# nothing else takes one before it is used. Each worker of pytest-xdist has ports of its own.
FIRST_PORT, END_PORT = 10240, 32768
_PORTS = range(
    FIRST_PORT + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]),
    END_PORT,
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)
# Another test session may run. Not `random`, which pytest-randomly seeds with the same number in each test.
_candidates = itertools.cycle(secrets.SystemRandom().sample(_PORTS, len(_PORTS)))


def free_port() -> int:
    """A port on which nothing listens, on either loopback address."""
    return next(port for port in _candidates if _is_free(port))


def _is_free(port: int) -> bool:
    try:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            socket.create_server((address, port), family=family).close()
    except OSError as error:  # another one where there is no IPv6
        return bool(error.errno != errno.EADDRINUSE)
    return True
