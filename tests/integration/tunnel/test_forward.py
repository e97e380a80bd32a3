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


def in_table(output: str) -> dict[int, int]:
    """The local port for each remote port, as the command printed them."""
    pairs = re.findall(rf"localhost:(\d+) forwards to {re.escape(LOOPBACK)}:(\d+)", output)
    return {int(remote): int(local) for local, remote in pairs}


def test_more_ports(proxied: ProxiedNetwork, serve: ServeFunction) -> None:
    """Each port of `--forward` has a local port, the same if that is free, which every command shows; a second run
    reuses them, and so does the tunnel after an outage. One that is added later gets its own, and the URL stays.
    """
    user = proxied.user
    # The host runs on this machine, so its ports are taken here, and the next free ones are used.
    board, dask, late = (serve(name_server(name)) for name in (b"board", b"dask", b"late"))
    same = free_port()
    # Not the default port: no other test may take it.
    local_port = ("--local-port", str(free_port()))
    password = ("--password-file", str(proxied.network.folder / "password"))
    up = ("up", "--detach", *local_port, *password, "--forward", f"{board},{dask}", "--forward", str(same))
    first_run = assert_success(user.fab(*up))
    session = user.only_session()
    also = {int(remote): local for remote, local in session["extra_ports"].items()}
    assert set(also) == {board, dask, same}
    assert also[same] == same
    assert all(also[remote] > remote for remote in (board, dask))
    assert in_table(first_run.stdout) == also | {session["remote_port"]: session["local_port"]}
    output = assert_success(user.fab("status")).stdout
    assert {remote: local for remote, local in in_table(output).items() if remote in also} == also
    for remote, name in ((board, b"board"), (dask, b"dask")):
        with dial(also[remote]) as peer:
            assert read_all(peer) == name

    pid = proxied.record()["pid"]
    for words in (("tunnel", "--detach"), ("tunnel", "--detach", "--forward", str(dask)), up):
        second_run = assert_success(user.fab(*words))
        assert (proxied.record()["pid"], user.only_session()["extra_ports"]) == (pid, session["extra_ports"])
        assert in_table(second_run.stdout) == in_table(first_run.stdout)

    proxied.first.cut()
    proxied.wait_for_outages(1)
    assert user.only_session()["extra_ports"] == session["extra_ports"]
    with dial(also[board]) as peer:
        assert read_all(peer) == b"board"

    assert_success(user.fab("tunnel", "--detach", "--forward", str(same), "--forward", str(late)))
    later = user.only_session()
    assert later["url"] == session["url"]
    assert later["extra_ports"][str(same)] == same
    with dial(later["extra_ports"][str(late)]) as peer:
        assert read_all(peer) == b"late"
    assert_success(user.fab("stop"))
    for local in {*also.values(), *later["extra_ports"].values()}:
        with pytest.raises(ConnectionRefusedError):
            dial(local)


def test_invalid_ports(proxied: ProxiedNetwork) -> None:
    """An invalid list of ports is refused by name before anything is connected to."""
    for value in ("0", "65536", "-1", "six", "6006;8787", "6006,six", "6006.5"):
        result = assert_error(proxied.user.fab("tunnel", f"--forward={value}"), 2, "--forward")
        assert "Traceback" not in result.stderr
    assert proxied.network.gateway.connections() == 0
