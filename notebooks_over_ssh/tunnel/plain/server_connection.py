"""Connects to the server behind the tunnel, through the tunnel's own local port, and verifies its certificate."""

import asyncio
import contextlib
import hashlib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter import certificate
from notebooks_over_ssh.tunnel.plain.cookies import CookieSeal
from notebooks_over_ssh.tunnel.plain.credentials import CredentialExchange

BLOCK_BYTES = 65536
# The TLS handshake waits for as long as the tunnel reconnects.
HANDSHAKE_TIMEOUT_S = 24 * 3600.0
SHUTDOWN_TIMEOUT_S = 2.0
# Connections that are lost before a request was sent on them.
MAX_ATTEMPTS = 3

Result = TypeVar("Result")


@dataclass(frozen=True)
class Server:
    """The server behind the tunnel: the certificate that it must present, and its token."""

    certificate: certificate.Certificate
    token: str = field(repr=False)


class ServerConnection(NamedTuple):
    """A connection to the server, whose certificate has been verified."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    exchange: CredentialExchange


class ServerConnector:
    """Opens connections to the server."""

    def __init__(self, port: int, plain_token: str, find_server: Callable[[], Server]) -> None:
        """`port` is the tunnel's local port. `find_server` may block, and raises UserError if there is no server."""
        self._port = port
        self._plain_token = plain_token
        self._find_server = find_server
        self._cookies = CookieSeal()

    async def connect(self) -> ServerConnection:
        """Connect. While the tunnel reconnects, that waits. Raises UserError."""
        server = await _in_thread(self._find_server)
        for _ in range(MAX_ATTEMPTS):
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1",
                    self._port,
                    limit=BLOCK_BYTES,
                    ssl=certificate.client_context(server.certificate),
                    server_hostname=server.certificate.name,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                    ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
                )
            except OSError as error:
                # The session may have got another server while this connection waited.
                previous, server = server, await _in_thread(self._find_server)
                is_refused = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
                if is_refused and server == previous:
                    raise RemoteError("the server behind the tunnel is not yours") from error
            else:
                presented = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                if hashlib.sha256(presented).hexdigest() != server.certificate.sha256:
                    writer.transport.abort()
                    raise RemoteError("the server behind the tunnel is not yours")
                return ServerConnection(
                    reader, writer, CredentialExchange(self._plain_token, server.token, self._cookies)
                )
        raise RemoteError("the connection to the server was lost; try again")


async def _in_thread(function: Callable[[], Result]) -> Result:
    """The function's result, from a daemon thread, which may outlive the event loop."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def set_result(result: Result | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: Result | None = None
        caught: BaseException | None = None
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 # raised again in the event loop
            caught = error
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(set_result, result, caught)

    threading.Thread(target=run, name="plain port's server", daemon=True).start()
    return await future
