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
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.connection import Connection, hops, host_key
from notebooks_over_ssh.ssh.mux.login_sockets import bind, login_socket
from notebooks_over_ssh.ssh.mux.server import MuxServerClient
from notebooks_over_ssh.ssh.protocol.transport import Transport

_log = logging.getLogger(__name__)

MAX_CLIENTS = 64
POLL_INTERVAL_S = 0.2
# A tunnel sends a keepalive after 5 s.
MAX_SILENCE_S = 6.0
# Less than a client waits for the greeting.
KEEPALIVE_TIMEOUT_S = 2.5
KEEPALIVE_POLL_S = 0.05


class OfferedHop(NamedTuple):
    """One hop that this process has logged in to."""

    listener: socket.socket
    status: os.stat_result
    """That of the socket's file."""
    connection: Connection
    host_key: str
    """The key (base64) with which the hop authenticated itself."""


class LoginHolder:
    """Listens at a socket for each hop that this process has logged in to."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._wakeup_receiver = socket.socketpair()
        self._selector.register(self._wakeup_receiver, selectors.EVENT_READ)
        self._hops: dict[Path, OfferedHop] = {}
        self._clients: set[MuxServerClient] = set()
        self._lock = threading.Lock()
        self.is_ended = threading.Event()
        """Set when a client has asked for the end."""
        self._is_closing = False
        self._is_withdrawn = False
        self._closed = False
        self._thread = threading.Thread(target=self._accept, name="login holder", daemon=True)
        self._thread.start()

    @property
    def is_used(self) -> bool:
        """Whether another command uses one of the logins now."""
        with self._lock:
            return any(client.is_served for client in self._clients)

    def offer(self, connection: Connection) -> None:
        """Offer the logins on all hops of an open Connection, in place of earlier ones on the same hops.

        Those that are not this process's own are left out. Without a place for the sockets, nothing is offered.
        """
        self._is_withdrawn = False
        for hop in hops(connection):
            # Exactly: another kind of transport has no login of its own.
            if type(hop.transport) is not Transport:
                continue
            for login_id in hop.login_ids:
                try:
                    self._listen(login_socket(login_id), hop)
                except (*FAILURES, TaskError) as error:
                    _log.debug("the login on %s is not offered: %s", hop.label, error)

    def withdraw(self) -> None:
        """Accept no clients until the next `offer`: the connection does not answer."""
        self._is_withdrawn = True

    def close(self) -> None:
        """Wait until no other command uses the logins, one asks for the end, or Ctrl-C; then close them."""
        try:
            while not self._refuse_clients() and not self.is_ended.wait(POLL_INTERVAL_S):
                pass
        except KeyboardInterrupt:
            pass
        finally:
            self._stop()

    def _refuse_clients(self) -> bool:
        """Accept no more clients, unless there is one; returns whether there is none."""
        with self._lock:
            self._is_closing = not self._clients
        return self._is_closing

    def _stop(self) -> None:
        self._closed = True
        self._wakeup.send(b"\0")
        self._thread.join()
        for path, offered in self._hops.items():
            offered.listener.close()
            _remove(path, offered.status)
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.close()
        for offered in self._hops.values():
            with contextlib.suppress(*FAILURES):
                offered.connection.close()
        self._selector.close()
        self._wakeup.close()
        self._wakeup_receiver.close()

    def _listen(self, path: Path, hop: Connection) -> None:
        key = host_key(hop)
        with self._lock:
            if path in self._hops:
                listener, status, *_ = self._hops[path]
                self._hops[path] = OfferedHop(listener, status, hop, key)
                return
            listener = bind(path)
            listener.setblocking(False)
            self._hops[path] = OfferedHop(listener, path.lstat(), hop, key)
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
            offered = self._hops[path]
            if len(self._clients) >= MAX_CLIENTS or self._is_closing or self._is_withdrawn:
                sock.close()
                return
            client = MuxServerClient(sock, offered.connection.transport, offered.host_key, self.is_ended.set)
            self._clients.add(client)

        def run() -> None:
            if _responds(offered.connection):
                client.run()
            sock.close()
            with self._lock:
                self._clients.discard(client)

        threading.Thread(target=run, name="login holder: a client", daemon=True).start()


def _responds(hop: Connection) -> bool:
    """Whether the server has sent something lately, or answers a keepalive."""
    packetizer = hop.transport.packetizer
    silent_since, now = packetizer.last_received_at, time.monotonic()
    if now - silent_since > MAX_SILENCE_S:
        hop.transport.send_keepalive()
        while packetizer.last_received_at == silent_since and time.monotonic() < now + KEEPALIVE_TIMEOUT_S:
            threading.Event().wait(KEEPALIVE_POLL_S)
        silent_since = packetizer.last_received_at
    return bool(hop.is_connected) and time.monotonic() - silent_since <= MAX_SILENCE_S


def _remove(path: Path, status: os.stat_result) -> None:
    """Remove the socket, unless another process has replaced it."""
    try:
        current = path.lstat()
        if (current.st_dev, current.st_ino) == (status.st_dev, status.st_ino):
            path.unlink()
    except OSError as error:
        _log.debug("cannot remove %s: %s", path, error)
