"""Where connections to the local ports are let in, and which transport carries them."""

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from notebooks_over_ssh.tunnel.event_loop import READ, Pump
from notebooks_over_ssh.tunnel.forwarded_connection import Forwarded, reset
from notebooks_over_ssh.tunnel.link import Link
from notebooks_over_ssh.tunnel.listener import Listener
from notebooks_over_ssh.tunnel.target import Target

# Connections that were made while there was no way; more than that no browser opens.
MOST_WAITING = 256


class Forwarder:
    """Carries every connection to its listeners to their ports on the host, through one transport after another.

    While no transport is in use, or a target is not proven, new connections are queued. Connections that a transport
    carries stay on it until it ends or is dropped, also while another is in use.
    """

    def __init__(self, targets: Iterable[tuple[Listener, int]]) -> None:
        self.targets = tuple(Target(port, listener) for listener, port in targets)
        self._link: Link | None = None
        self._links: list[Link] = []
        self._waiting: deque[tuple[socket.socket, Target]] = deque()
        self._is_full = False
        # The one whose thread accepts: that of the link in use, so that a new connection passes through no other.
        self._acceptor: Pump | None = None
        self.pump = Pump()

    @property
    def connections(self) -> set[Forwarded]:
        """All that are carried now."""
        return {connection for link in list(self._links) for connection in link.connections.copy()}

    def carries(self, transport: Any) -> bool:
        """Whether the transport carries any connection."""
        return any(link.connections for link in list(self._links) if link.transport is transport)

    def accept(self) -> None:
        """Let connections in from now on."""
        self.pump.do(self._listen)

    def lead_through(self, transport: Any) -> None:
        """Use this transport for new connections from now on, first for those that are queued."""
        self.pump.do(lambda: self._use(transport))

    def serve_queued(self) -> None:
        """Look again which of the queued connections may be led to their targets."""
        self.pump.do(self._serve_queued)

    def end(self, target: Target) -> None:
        """Reset the connections to the target; from any thread, and before anything that arrives later is handled."""
        for link in list(self._links):
            link.end(target)

    def drop(self, transport: Any) -> None:
        """Reset what the transport carries; close it first, for its path may take nothing any more."""
        self.pump.do(lambda: self._drop(transport))

    def hold(self) -> None:
        """There is no way now: end what was open, and queue new connections."""
        self.pump.do(self._hold)

    def connect(self, transport: Any, port: int) -> socket.socket:
        """A connection of our own to a port on the host, without a listener."""
        ours, theirs = socket.socketpair()
        self.pump.do(lambda: self._link_of(transport).carry(theirs, Target(port)))
        return ours

    def close(self) -> None:
        """End all connections and close the listeners."""
        self.pump.do(self._end)
        self.pump.close()

    # ---- in the thread of the pump ----

    def _listen(self) -> None:
        self._is_full = False
        self._stop_listening()
        pump, serve = (self.pump, self._serve) if self._link is None else (self._link.pump, self._link.open)
        self._acceptor = pump

        def work() -> None:
            for target in self.targets:
                for listening in target.sockets:
                    listening.setblocking(False)
                    pump.watch(listening, READ, partial(self._accept, serve, listening, target))

        pump.do(work)

    def _accept(
        self, serve: Callable[[socket.socket, Target], None], listening: socket.socket, target: Target, _: int
    ) -> None:
        try:
            local, _ = listening.accept()
            local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and not self._is_full:
                self._is_full = True
                self.pump.do(self._wait_for_room)
            return
        serve(local, target)

    def _serve(self, local: socket.socket, target: Target) -> None:
        link = self._link
        if link is not None and link.transport.is_active() and target.is_proven():
            link.carry(local, target)
            return
        self._waiting.append((local, target))
        if len(self._waiting) > MOST_WAITING:
            reset(self._waiting.popleft()[0])
        target.wanted()

    def _use(self, transport: Any) -> None:
        before, self._link = self._link, self._link_of(transport)
        self._listen_elsewhere()
        if before is not None and before is not self._link:
            before.hand_over()
        self._serve_queued()

    def _serve_queued(self) -> None:
        # Those that are queued again, as this transport ends too, wait for the next.
        waiting, self._waiting = self._waiting, deque()
        for local, target in waiting:
            if _is_there(local):
                self._serve(local, target)
            else:
                local.close()

    def _link_of(self, transport: Any) -> Link:
        for link in self._links:
            if link.transport is transport:
                return link
        for link in [link for link in self._links if link is not self._link]:
            if not link.transport.is_active():
                self._drop(link.transport)
        link = Link(transport, self._again, self._room)
        self._links.append(link)
        return link

    def _drop(self, transport: Any) -> None:
        for link in [link for link in self._links if link.transport is transport]:
            if link is self._link:
                self._link = None
                self._listen_elsewhere()
            self._links.remove(link)
            link.close()

    def _hold(self) -> None:
        if self._link is not None:
            self._drop(self._link.transport)

    def _room(self) -> None:
        if self._is_full:
            self.pump.do(self._listen)

    def _again(self, local: socket.socket, target: Target) -> None:
        """Its transport ended before the connection began: serve it by the next, unless it is our own, which knows better."""
        if target.listener is None:
            reset(local)
        else:
            self.pump.do(lambda: self._serve(local, target))

    def _wait_for_room(self) -> None:
        if self._is_full:
            self._stop_listening()

    def _listen_elsewhere(self) -> None:
        if self._acceptor is not None:
            self._listen()

    def _stop_listening(self) -> None:
        pump, self._acceptor = self._acceptor, None
        if pump is None:
            return

        def work() -> None:
            for target in self.targets:
                for listening in target.sockets:
                    pump.watch(listening, 0, lambda _: None)

        pump.do(work)

    def _end(self) -> None:
        self._is_full = False
        self._stop_listening()
        for link in list(self._links):
            self._drop(link.transport)
        for target in self.targets:
            if target.listener is not None:
                target.listener.close()
        # What a link gave back has been asked for by now.
        self.pump.do(self._reset_queued)

    def _reset_queued(self) -> None:
        for local, _ in self._waiting:
            reset(local)
        self._waiting.clear()


def _is_there(local: socket.socket) -> bool:
    """Whether whoever connected still waits."""
    try:
        return bool(local.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False
