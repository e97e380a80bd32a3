"""What OpenSSH's client has no option for: signals to a command, and window size changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh

from notebooks_over_ssh.sandbox import Network
from tests.kit.wait import TIMEOUT_S


@asynccontextmanager
async def _connected(network: Network) -> AsyncIterator[asyncssh.SSHClientConnection]:
    options = asyncssh.SSHClientConnectionOptions(
        config=None, client_keys=[network.client_key], known_hosts=network.known_hosts, username="anybody"
    )
    gateway = await asyncssh.connect("127.0.0.1", network.gateway_port, options=options)
    host = await asyncssh.connect("ashbury", tunnel=gateway, options=options)
    yield host
    host.close()
    gateway.close()
    await gateway.wait_closed()


def test_signal_request(network: Network) -> None:
    """A signal request reaches the command and its children, and the exit signal is reported."""

    async def talk() -> tuple[str, tuple[str, bool, str, str] | None]:
        async with _connected(network) as host:
            process = await host.create_process(
                "trap 'echo caught' INT; echo ready; sleep 600; kill -TERM $$; sleep 9"
            )
            first = await process.stdout.readline()
            process.send_signal("INT")
            second = await process.stdout.readline()
            await process.wait()
            result = first + second, process.exit_signal
        return result

    output, ended = asyncio.run(asyncio.wait_for(talk(), TIMEOUT_S))
    assert output == "ready\ncaught\n"
    assert ended is not None
    assert ended[0] == "TERM"


def test_window_size(network: Network) -> None:
    """A PTY has the size that the client requests, at first and after a change."""

    async def talk() -> list[str]:
        async with _connected(network) as host:
            process = await host.create_process(
                "trap 'stty size; exit' WINCH; stty size; sleep 600 & wait",
                term_type="xterm",
                term_size=(90, 30),
            )
            sizes = [await process.stdout.readline()]
            process.change_terminal_size(120, 50)
            sizes.append(await process.stdout.readline())
        return sizes

    assert [size.strip() for size in asyncio.run(asyncio.wait_for(talk(), TIMEOUT_S))] == ["30 90", "50 120"]
