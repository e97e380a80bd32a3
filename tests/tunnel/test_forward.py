"""`--forward`: further ports of the host, each with a local port of its own."""

import re
import socket
from collections.abc import Callable

import pytest

from tests.journey.program import refused, succeeded
from tests.openssh.network import LOOPBACK, free_port
from tests.ssh.conftest import Serve
from tests.tunnel.hops import dial, read_all
from tests.tunnel.way import Way


def says(name: bytes) -> Callable[[socket.socket], None]:
    """A server that says its name and closes."""
    return lambda peer: peer.sendall(name)


def background(way: Way) -> tuple[str, ...]:
    """What `up` is told in every test: a tunnel in the background, on a port that no other test would take next."""
    return (
        "--detach",
        "--local-port",
        str(free_port()),
        "--password-file",
        str(way.network.folder / "password"),
    )


def in_table(said: str) -> dict[int, int]:
    """By the port of the host, the local port that leads there, as a command printed it."""
    found = re.findall(rf"localhost:(\d+) leads to {re.escape(LOOPBACK)}:(\d+)", said)
    return {int(remote): int(local) for local, remote in found}


def test_further_ports(way: Way, serve: Serve) -> None:
    """Each further port is reached at a local port, which every command shows; a second run finds them, and so does one
    after an outage.
    """
    user = way.user
    # On this machine the host's ports are taken, so the next free ones are theirs.
    board, dask = serve(says(b"board")), serve(says(b"dask"))
    up = (*background(way), "--forward", f"{board},{dask}")
    opened = succeeded(user.fab("up", *up))
    session = user.only_session()
    also = {int(remote): local for remote, local in session["extra_ports"].items()}
    assert set(also) == {board, dask}
    assert all(local > remote for remote, local in also.items())
    assert in_table(opened.stdout) == also | {session["remote_port"]: session["local_port"]}
    shown = succeeded(user.fab("status")).stdout
    assert {remote: local for remote, local in in_table(shown).items() if remote in also} == also
    for remote, name in ((board, b"board"), (dask, b"dask")):
        with dial(also[remote]) as peer:
            assert read_all(peer) == name

    pid = way.record()["pid"]
    for words in (("tunnel", "--detach"), ("tunnel", "--detach", "--forward", str(dask)), ("up", *up)):
        again = succeeded(user.fab(*words))
        assert (way.record()["pid"], user.only_session()["extra_ports"]) == (pid, session["extra_ports"])
        assert in_table(again.stdout) == in_table(opened.stdout)

    way.first.cut()
    way.wait_until_noticed(1)
    assert user.only_session()["extra_ports"] == session["extra_ports"]
    with dial(also[board]) as peer:
        assert read_all(peer) == b"board"
    succeeded(user.fab("stop"))
    for local in also.values():
        with pytest.raises(ConnectionRefusedError):
            dial(local)


def test_one_more_port(way: Way, serve: Serve) -> None:
    """A further port has the same number here where that is free. One that is asked for later gets its own; the address
    stays.
    """
    user = way.user
    board, same = serve(says(b"board")), free_port()
    succeeded(user.fab("up", *background(way), "--forward", str(same)))
    before = user.only_session()
    assert before["extra_ports"] == {str(same): same}
    succeeded(user.fab("tunnel", "--detach", "--forward", str(same), "--forward", str(board)))
    session = user.only_session()
    assert session["url"] == before["url"]
    assert session["extra_ports"][str(same)] == same
    with dial(session["extra_ports"][str(board)]) as peer:
        assert read_all(peer) == b"board"
    succeeded(user.fab("stop"))


@pytest.mark.parametrize("value", ["0", "65536", "-1", "six", "6006;8787", "6006,six", "6006.5"])
def test_no_port(way: Way, value: str) -> None:
    """What is no list of ports is refused by name, before anything is connected to."""
    done = refused(way.user.fab("tunnel", f"--forward={value}"), 2, "--forward")
    assert "Traceback" not in done.stderr
    assert way.network.gateway.connections() == 0
