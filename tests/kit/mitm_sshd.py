"""A man in the middle: an SSH server with its own key, which accepts every login and records what it receives."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from tests.kit.sshd import LOOPBACK

Result = TypeVar("Result")
TIMEOUT_S = 10
MSG_DISCONNECT, MSG_KEX_FIRST, MSG_KEX_LAST = 1, 20, 49


class AsyncioThread:
    """An asyncio event loop in its own thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the loop, and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(TIMEOUT_S)

    def close(self) -> None:
        """Stop the loop, and cancel its tasks."""
        self.run(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_S)
        self._loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class MitmRecord:
    """What the server received."""

    connections: int = 0
    auth_attempts: list[str] = field(default_factory=list)
    """Every attempt to authenticate, with its secret."""
    packets: list[int] = field(default_factory=list)
    """The type of every packet after the key exchange (RFC 4250, section 4.1.2), without DISCONNECT."""
    channels: list[str] = field(default_factory=list)
    stall_event: threading.Event = field(default_factory=threading.Event)
    """Set when the server stops answering."""

    def is_empty(self) -> bool:
        """Whether a client connected, and sent nothing after the key exchange."""
        return self.connections > 0 and not self.auth_attempts and not self.packets and not self.channels


class MitmServer(asyncssh.SSHServer):
    """Accepts every key and password, and forwards to everywhere."""

    def __init__(self, record: MitmRecord, *, accepts_keys: bool = True) -> None:
        self.record = record
        self.accepts_keys = accepts_keys

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.record.connections += 1
        _record_packets(conn, self.record)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self.record.auth_attempts.append(f"key {key.get_fingerprint()}")
        return self.accepts_keys

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self.record.auth_attempts.append(f"password {password}")
        return True

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        self.record.channels.append(f"forward {dest_port}")
        return True


class KeyboardInteractiveServer(MitmServer):
    """Accepts only answers to prompts (RFC 4256), which a subclass sends."""

    def __init__(self, record: MitmRecord) -> None:
        super().__init__(record, accepts_keys=False)

    def public_key_auth_supported(self) -> bool:
        return False

    def password_auth_supported(self) -> bool:
        return False

    def kbdint_auth_supported(self) -> bool:
        return True


def _record_packets(connection: asyncssh.SSHServerConnection, record: MitmRecord) -> None:
    """Record the type of every packet except those of the key exchange and DISCONNECT."""
    log = connection.log_received_packet

    def log_and_record(kind: int, *rest: Any) -> None:
        if kind != MSG_DISCONNECT and not MSG_KEX_FIRST <= kind <= MSG_KEX_LAST:
            record.packets.append(kind)
        log(kind, *rest)

    connection.log_received_packet = log_and_record  # type: ignore[method-assign,assignment]


@contextlib.contextmanager
def mitm_server(
    loop: AsyncioThread,
    key: Path,
    *,
    certificate: Path | None = None,
    port: int = 0,
    server_factory: Callable[[MitmRecord], asyncssh.SSHServer] = MitmServer,
    **options: Any,
) -> Iterator[tuple[int, MitmRecord]]:
    """A MITM server with this host key, and its certificate if there is one; yields its port and its record."""
    record = MitmRecord()
    host_key = (str(key), str(certificate)) if certificate else str(key)

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            LOOPBACK,
            port,
            server_factory=lambda: server_factory(record),
            server_host_keys=[host_key],
            login_timeout=0,
            **options,
        )

    async def stop(acceptor: asyncssh.SSHAcceptor) -> None:
        acceptor.close()
        await acceptor.wait_closed()

    acceptor = loop.run(listen())
    try:
        yield acceptor.get_port(), record
    finally:
        loop.run(stop(acceptor))
