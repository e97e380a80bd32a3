"""TCP ports of this machine."""

import errno
import socket


def free_port() -> int:
    """A port on which nothing listens, on either loopback address."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
            try:
                socket.create_server(("::1", port), family=socket.AF_INET6).close()
            except OSError as error:  # also where there is no IPv6
                if error.errno == errno.EADDRINUSE:
                    continue
            return port
