"""Whether the first hop of a route can be reached, before any login."""

import socket

from notebooks_over_ssh.errors import ConnectError

MAX_BANNER_BYTES = 255  # RFC 4253, section 4.2


def resolve_name(host: str, port: int) -> list[str]:
    """The addresses of the host. Raises ConnectError."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConnectError(
            f"there is no host called {host}: {error}",
            hint="check the name, and whether you are online",
        ) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in addresses))


def read_banner(host: str, port: int, label: str, timeout_s: float) -> str:
    """The first line of the SSH server, which is called `label` in messages. Raises ConnectError."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as sock:
            banner = sock.recv(MAX_BANNER_BYTES)
    except OSError as error:
        raise ConnectError(
            f"port {port} of {label} does not answer: {error}",
            hint="check the port, and whether your site requires its VPN",
        ) from error
    if not banner.startswith(b"SSH-"):
        raise ConnectError(
            f"the service on port {port} of {label} is not SSH",
            hint="check the port in invoke.yaml",
        )
    return banner.splitlines()[0].decode("ascii", "replace")
