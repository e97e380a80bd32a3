"""`--forward`: more ports of the host, each with its own local port."""

import re
import socket
from collections.abc import Callable

import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.forwarding import ServeFunction
from tests.kit.ports import free_port
from tests.kit.proxied_tunnel import ProxiedNetwork
from tests.kit.sockets import dial, read_all
from tests.kit.sshd import LOOPBACK


def name_server(name: bytes) -> Callable[[socket.socket], None]:
    """A server that sends its name and closes."""
    return lambda peer: peer.sendall(name)


def background(proxied: ProxiedNetwork) -> tuple[str, ...]:
    """Arguments of `up` in every test: a tunnel in the background, on a port that no other test would take next."""
    return (
        "--detach",
        "--local-port",
        str(free_port()),
        "--password-file",
        str(proxied.network.folder / "password"),
    )


def in_table(output: str) -> dict[int, int]:
    """The local port for each remote port, as the command printed them."""
    pairs = re.findall(rf"localhost:(\d+) forwards to {re.escape(LOOPBACK)}:(\d+)", output)
    return {int(remote): int(local) for local, remote in pairs}


def test_more_ports(proxied: ProxiedNetwork, serve: ServeFunction) -> None:
    """Each port of `--forward` has a local port, which every command shows; a second run reuses them, and so does the
    tunnel after an outage.
    """
    user = proxied.user
    # The host runs on this machine, so its ports are taken here, and the next free ones are used.
    board, dask = serve(name_server(b"board")), serve(name_server(b"dask"))
    up = (*background(proxied), "--forward", f"{board},{dask}")
    first_run = assert_success(user.fab("up", *up))
    session = user.only_session()
    also = {int(remote): local for remote, local in session["extra_ports"].items()}
    assert set(also) == {board, dask}
    assert all(local > remote for remote, local in also.items())
    assert in_table(first_run.stdout) == also | {session["remote_port"]: session["local_port"]}
    output = assert_success(user.fab("status")).stdout
    assert {remote: local for remote, local in in_table(output).items() if remote in also} == also
    for remote, name in ((board, b"board"), (dask, b"dask")):
        with dial(also[remote]) as peer:
            assert read_all(peer) == name

    pid = proxied.record()["pid"]
    for words in (("tunnel", "--detach"), ("tunnel", "--detach", "--forward", str(dask)), ("up", *up)):
        second_run = assert_success(user.fab(*words))
        assert (proxied.record()["pid"], user.only_session()["extra_ports"]) == (pid, session["extra_ports"])
        assert in_table(second_run.stdout) == in_table(first_run.stdout)

    proxied.first.cut()
    proxied.wait_for_outages(1)
    assert user.only_session()["extra_ports"] == session["extra_ports"]
    with dial(also[board]) as peer:
        assert read_all(peer) == b"board"
    assert_success(user.fab("stop"))
    for local in also.values():
        with pytest.raises(ConnectionRefusedError):
            dial(local)


def test_one_more_port(proxied: ProxiedNetwork, serve: ServeFunction) -> None:
    """A forwarded port gets the same local number if that is free; one that is added later gets its own, and the URL
    stays.
    """
    user = proxied.user
    board, same = serve(name_server(b"board")), free_port()
    assert_success(user.fab("up", *background(proxied), "--forward", str(same)))
    before = user.only_session()
    assert before["extra_ports"] == {str(same): same}
    assert_success(user.fab("tunnel", "--detach", "--forward", str(same), "--forward", str(board)))
    session = user.only_session()
    assert session["url"] == before["url"]
    assert session["extra_ports"][str(same)] == same
    with dial(session["extra_ports"][str(board)]) as peer:
        assert read_all(peer) == b"board"
    assert_success(user.fab("stop"))


@pytest.mark.parametrize("value", ["0", "65536", "-1", "six", "6006;8787", "6006,six", "6006.5"])
def test_invalid_ports(proxied: ProxiedNetwork, value: str) -> None:
    """An invalid list of ports is refused by name before anything is connected to."""
    result = assert_error(proxied.user.fab("tunnel", f"--forward={value}"), 2, "--forward")
    assert "Traceback" not in result.stderr
    assert proxied.network.gateway.connections() == 0
