"""A Connection to a host of the sandbox, and TCP servers to forward to."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from invoke.context import Context

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.config import settings
from notebooks_over_ssh.jupyter.connecting import connect_to
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.connections import close_all
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, NullPrompter
from tests.kit.sockets import LOOPBACK, TIMEOUT_S, accept_loop

ServeFunction = Callable[[Callable[[socket.socket], None]], int]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A Connection to the sandbox's host ashbury, for the tests of one module."""
    home: Path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.delenv("XDG_DATA_HOME", raising=False)
        loaded = settings.load(Context(), host="ashbury")
        sandbox.ensure_running()
        yield connect_to(loaded, loaded.destination(), CredentialPrompter(NullPrompter()))
        close_all()
        sandbox.stop()


@pytest.fixture
def serve() -> Iterator[ServeFunction]:
    """Start a TCP server on loopback that calls a function with each connection; all end with the test."""
    with contextlib.ExitStack() as stack:

        def start(handle: Callable[[socket.socket], None]) -> int:
            threads: list[threading.Thread] = []

            def start_thread(peer: socket.socket) -> None:
                threads.append(threading.Thread(target=_handle, args=(handle, peer)))
                threads[-1].start()

            def join() -> None:
                for thread in threads:
                    thread.join(TIMEOUT_S)
                    assert not thread.is_alive(), "a connection to the server never ended"

            stack.callback(join)
            listener = socket.create_server((LOOPBACK, 0), backlog=256)
            return stack.enter_context(accept_loop(listener, start_thread))

        yield start


def _handle(handle: Callable[[socket.socket], None], peer: socket.socket) -> None:
    with peer, contextlib.suppress(ConnectionError):
        handle(peer)
