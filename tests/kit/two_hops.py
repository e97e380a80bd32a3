"""Two sshd, the Connection through both in this process, and a forwarder over it."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import closing

from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel import Forwarder, listen
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.ports import free_port
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK


class TwoHops:
    """A gateway, the host behind it, and the client."""

    def __init__(self, client: Client, *options: str, gateway_options: tuple[str, ...] = ()) -> None:
        self.client = client
        self.gateway = client.server("gateway", *gateway_options, *options)
        self.host = client.server("host", *options)
        client.write_known_hosts(*[server.known_hosts_line for server in (self.gateway, self.host)])

    @contextlib.contextmanager
    def connected(
        self,
        *,
        compress: bool = False,
        ssh_config: str | None = None,
        prompter: ScriptedPrompter | None = None,
    ) -> Iterator[Connection]:
        """The open Connection to the host."""
        with self.client.connected(
            self.host,
            prompter,
            gateway=f"{LOOPBACK}:{self.gateway.port}",
            connect_kwargs={"compress": True} if compress else {},
            ssh_config=ssh_config,
        ) as connection:
            yield connection


@contextlib.contextmanager
def forwarding(connection: Connection, *targets: int) -> Iterator[tuple[Forwarder, list[int]]]:
    """A forwarder over the Connection, and the local port for each of the targets."""
    listeners = [listen(free_port()) for _ in targets]
    with closing(Forwarder(zip(listeners, targets, strict=True))) as forwarder:
        forwarder.set_transport(connection.port_transport)
        forwarder.start()
        yield forwarder, [listener.port for listener in listeners]


@contextlib.contextmanager
def echo_server(loop: AsyncioThread) -> Iterator[int]:
    """The port of an echo server, which supports half-close and any number of connections."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while block := await reader.read(65536):
                writer.write(block)
                await writer.drain()
            writer.write_eof()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(echo, LOOPBACK, 0, backlog=512)

    async def stop(server: asyncio.Server) -> None:
        server.close()

    server = loop.run(start())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.run(stop(server))
