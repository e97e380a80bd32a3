"""Offers the logins of this process to the user's other commands, so that they need none of their own."""

import contextlib
import logging
import os
import selectors
import socket
import threading
import time
from pathlib import Path
from typing import NamedTuple

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.connection import Connection, hops, host_key
from notebooks_over_ssh.ssh.mux.login_sockets import HeldLogin, bind, greeting, login_socket
from notebooks_over_ssh.ssh.mux.server import MuxServerClient
from notebooks_over_ssh.ssh.protocol.transport import Transport
from notebooks_over_ssh.ssh.responsiveness import responds

_log = logging.getLogger(__name__)

MAX_CLIENTS = 64
# A tunnel sends a keepalive after 5 s, and so does a process that only keeps its logins.
MAX_SILENCE_S = 6.0


class OfferedHop(NamedTuple):
    """One hop that this process has logged in to."""

    listener: socket.socket
    status: os.stat_result
    """That of the socket's file."""
    connection: Connection
    host_key: str
    """The key (base64) with which the hop authenticated itself."""
    since: float
    """When this process had logged in, by time.time()."""


class LoginHolder:
    """Listens at a socket for each hop that this process has logged in to."""

    def __init__(self, lifetime_s: float = 0) -> None:
        """`lifetime_s` is for how long the logins are kept without a tunnel, after their last use."""
        self.lifetime_s = lifetime_s
        self.problem = ""
        """Why the last `offer` failed; "" if it did not."""
        self.tunnel = ""
        """The tunnel of this process, for the user to read: as long as there is one, no client can end the logins."""
        self.is_needed = False
        """Whether this process itself goes on to use the logins when its tunnel is closed."""
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._wakeup_receiver = socket.socketpair()
        self._selector.register(self._wakeup_receiver, selectors.EVENT_READ)
        self._hops: dict[Path, OfferedHop] = {}
        self._clients: set[MuxServerClient] = set()
        self._lock = threading.Lock()
        self._end_requested = threading.Event()
        self._used_at = time.monotonic()
        self._is_closing = False
        self._is_withdrawn = False
        self._closed = False
        self._thread = threading.Thread(target=self._accept, name="login holder", daemon=True)
        self._thread.start()

    @property
    def outlives_tunnel(self) -> bool:
        """Whether the logins stay when the tunnel is closed now."""
        return (self.lifetime_s > 0 or self.is_needed) and not self._is_withdrawn

    @property
    def connections(self) -> list[Connection]:
        """The hops whose logins are offered, outermost first."""
        with self._lock:
            # Not a set: Connections to the same name are equal.
            return list(
                {id(offered.connection): offered.connection for offered in self._hops.values()}.values()
            )

    @property
    def hops(self) -> tuple[str, ...]:
        """The accounts whose logins are offered, as `user@host`, outermost first."""
        return tuple(dict.fromkeys(hop.connection.login.account for hop in list(self._hops.values())))

    def offer(self, connection: Connection) -> None:
        """Offer the logins on all hops of an open Connection, in place of the earlier ones.

        Those that are not this process's own are left out. Without a place for the sockets, nothing is offered.
        """
        self._is_withdrawn = False
        for hop in self.connections:
            if not hop.is_connected:
                self.drop(hop)
        for hop in hops(connection):
            # Exactly: another kind of transport has no login of its own.
            if type(hop.transport) is not Transport:
                continue
            hop.transport.sessions_ahead.start()
            if hop is connection:  # programs run there, and perhaps on a login node before it
                hop.transport.sessions_ahead.refill()
                hop.transport.sessions_ahead.refill_command(BOOTSTRAP)
            for login_id in hop.login_ids:
                try:
                    self._listen(login_socket(login_id), hop)
                except (*FAILURES, TaskError) as error:
                    self.problem = getattr(error, "strerror", None) or str(error)
                    _log.debug("the login on %s is not offered: %s", hop.label, error)

    def withdraw(self) -> None:
        """Accept no clients until the next `offer`: the connection does not answer."""
        self._is_withdrawn = True

    def drop(self, connection: Connection) -> None:
        """Close a hop, and offer it no more."""
        self._retract(connection)
        with contextlib.suppress(*FAILURES):
            connection.close()

    def _retract(self, connection: Connection) -> None:
        with self._lock:
            dropped = {path: hop for path, hop in self._hops.items() if hop.connection is connection}
            for path, offered in dropped.items():
                del self._hops[path]
                self._selector.unregister(offered.listener)
                offered.listener.close()
                _remove(path, offered.status)

    def may_stay(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s`; whether there are logins that no client has ended, and that were used lately.

        Once it returns False, no client is accepted.
        """
        is_ended = self._end_requested.wait(timeout_s)
        with self._lock:
            if any(client.is_served for client in self._clients):
                self._used_at = time.monotonic()
            is_unused = not self._clients and time.monotonic() - self._used_at >= self.lifetime_s
            self._is_closing = is_ended or is_unused or not self._hops
            return not self._is_closing

    def close(self) -> None:
        """Offer the logins no more, and disconnect the clients; the connections stay open."""
        with self._lock:
            self._is_closing = True
        self._closed = True
        self._wakeup.send(b"\0")
        self._thread.join()
        for connection in self.connections:
            self._retract(connection)
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.close()
        self._selector.close()
        self._wakeup.close()
        self._wakeup_receiver.close()

    def _listen(self, path: Path, hop: Connection) -> None:
        key = host_key(hop)
        with self._lock:
            if path in self._hops:
                listener, status, connection, *_ = self._hops[path]
                if connection is not hop:
                    self._hops[path] = OfferedHop(listener, status, hop, key, time.time())
                return
            listener = bind(path)
            listener.setblocking(False)
            self._hops[path] = OfferedHop(listener, path.lstat(), hop, key, time.time())
            self._selector.register(listener, selectors.EVENT_READ, path)
        self._wakeup.send(b"\0")
        _log.debug("the login on %s is offered at %s", hop.label, path)

    def _accept(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select():
                if key.fileobj is self._wakeup_receiver:
                    self._wakeup_receiver.recv(4096)
                    continue
                try:
                    client, _ = key.fileobj.accept()  # type: ignore[union-attr] # a listener
                except OSError:
                    continue
                client.setblocking(True)
                self._serve(client, key.data)

    def _serve(self, sock: socket.socket, path: Path) -> None:
        with self._lock:
            offered = self._hops.get(path)
            if offered is None or len(self._clients) >= MAX_CLIENTS or self._is_closing or self._is_withdrawn:
                sock.close()
                return
            description = self._describe(offered)
            client = MuxServerClient(sock, offered.connection.transport, self._request_end)
            self._clients.add(client)

        def run() -> None:
            # A login that cannot be used can be ended.
            host_key = offered.host_key if _is_usable(offered.connection) else ""
            client.run(greeting(host_key, description))
            with self._lock:
                self._clients.discard(client)

        threading.Thread(target=run, name="login holder: a client", daemon=True).start()

    def _describe(self, offered: OfferedHop) -> HeldLogin:
        left_s = max(0.0, self._used_at + self.lifetime_s - time.monotonic())
        is_used = any(client.is_served for client in self._clients)
        return HeldLogin(
            pid=os.getpid(),
            hops=self.hops,
            since=offered.since,
            lifetime_s=self.lifetime_s,
            until=None if self.tunnel or is_used else time.time() + left_s,
            tunnel=self.tunnel,
        )

    def _request_end(self) -> str:
        """Why the logins cannot end at a client's request; "" if they end."""
        if self.tunnel:
            return f"{self.tunnel} uses it"
        self._end_requested.set()
        return ""


def _is_usable(hop: Connection) -> bool:
    """Whether the server has sent something lately, or answers a keepalive."""
    silence_s = time.monotonic() - hop.transport.packetizer.last_received_at
    return bool(hop.is_connected) and (silence_s <= MAX_SILENCE_S or responds(hop))


def _remove(path: Path, status: os.stat_result) -> None:
    """Remove the socket, unless another process has replaced it."""
    try:
        current = path.lstat()
        if (current.st_dev, current.st_ino) == (status.st_dev, status.st_ino):
            path.unlink()
    except OSError as error:
        _log.debug("cannot remove %s: %s", path, error)
