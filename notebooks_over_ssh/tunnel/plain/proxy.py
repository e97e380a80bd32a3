"""Listens on the plain port, in an asyncio event loop in a thread of its own."""

import asyncio
import contextlib
import threading

from notebooks_over_ssh.tunnel.listener import Listener
from notebooks_over_ssh.tunnel.plain.client_connection import ClientConnection
from notebooks_over_ssh.tunnel.plain.http_relay import HTTPRelay
from notebooks_over_ssh.tunnel.plain.server_connection import BLOCK_BYTES, ServerConnector

# Every user of this machine can connect.
MAX_CONNECTIONS = 256
CHECK_INTERVAL_S = 1.0


class PlainProxy:
    """The listening plain port."""

    def __init__(self, listener: Listener, connector: ServerConnector) -> None:
        self.port = listener.port
        self._listener = listener
        self._connector = connector
        self._connections: set[ClientConnection] = set()
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="plain port", daemon=True)

    def start(self) -> None:
        """Start accepting connections."""
        self._thread.start()

    def close(self) -> None:
        """Close all connections, and stop the thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        servers = [
            await asyncio.start_server(self._accept, sock=sock, limit=BLOCK_BYTES)
            for sock in self._listener.sockets
        ]
        try:
            while not self._stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), CHECK_INTERVAL_S)
                for connection in self._connections.copy():
                    connection.check_timeout(self._loop.time())
        finally:
            for server in servers:
                server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = HTTPRelay(self.port)
        if len(self._connections) >= MAX_CONNECTIONS:
            relay.refuse_connection()
            writer.write(relay.to_client)
            writer.close()
            return
        connection = ClientConnection(self._connector, relay, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
