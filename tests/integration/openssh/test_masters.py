"""A login that OpenSSH holds for a hop (ControlMaster) is used, and an unusable one is ignored."""

import contextlib
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from notebooks_over_ssh.config.schema import SSH
from notebooks_over_ssh.config.settings import parse_destination
from notebooks_over_ssh.ssh.connection import Connection, host_key
from notebooks_over_ssh.ssh.connections import close_all, connect
from notebooks_over_ssh.ssh.host_keys import Machine
from notebooks_over_ssh.ssh.jump_chain import ConnectTarget
from notebooks_over_ssh.ssh.mux.transport import MuxTransport
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.ssh.remote import run_program
from notebooks_over_ssh.tunnel.relay import forwarding_refusal
from tests.kit.cli import assert_success
from tests.kit.https_probe import get_api
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.openssh_master import ssh_master
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, Network
from tests.kit.two_hops import TwoHops, echo_server, forwarding
from tests.kit.wait import wait_until

SOME_FINGERPRINT = "SHA256:" + 43 * "A"
Fault = Callable[["MasterHops", int], AbstractContextManager[object]]


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


class MasterHops(TwoHops):
    """Two hops with a name in ssh_config(5) and a ControlPath each."""

    def __init__(self, client: Client, sockets: Path, *options: str) -> None:
        """`sockets` has a short path: unix(7) allows 108 bytes, and ssh appends some."""
        super().__init__(client, *options)
        self.sockets = sockets

    def config(self, *names_with_master: str, more: str = "") -> str:
        """An ssh_config with both hops, and a ControlPath for those that are named."""
        hosts = ""
        for name, server, jump in (("gateway", self.gateway, "none"), ("host", self.host, "gateway")):
            path = f"  ControlPath {self.control_path(name)}\n" if name in names_with_master else ""
            hosts += f"Host {name}\n  HostName {LOOPBACK}\n  Port {server.port}\n  ProxyJump {jump}\n{path}"
        files = f"  UserKnownHostsFile {self.client.known_hosts}\n  IdentityFile {self.client.key}\n"
        return f"{hosts}Host *\n{files}{more}"

    def control_path(self, name: str) -> Path:
        """The socket of the master for that hop."""
        return self.sockets / name

    @contextlib.contextmanager
    def master(self, name: str) -> Iterator[int]:
        """A master for that hop; its process."""
        config = self.client.folder / "ssh_config_of_master"
        config.write_text(self.config(more="  BatchMode yes\n"))
        with ssh_master(name, config, self.control_path(name)) as process:
            yield process.pid

    def logins(self) -> tuple[int, int]:
        """The logins on gateway and host so far."""
        return self.gateway.logins(), self.host.logins()

    def new_logins(self, *names_with_master: str, **settings: Any) -> tuple[int, int]:
        """Connect to the host and run a program there; returns how many logins that took on gateway and host."""
        before = self.logins()
        config = self.config(*names_with_master)
        with self.client.connected("host", ssh_config=config, **settings) as connection:
            assert run_program(connection, "server_status", {}, timeout_s=30)["problem"] == ""
        after = self.logins()
        return after[0] - before[0], after[1] - before[1]


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A private folder with a short path."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def hops(client: Client, sockets: Path) -> MasterHops:
    return MasterHops(client, sockets)


def test_gateway_master(hops: MasterHops) -> None:
    """With a master for the gateway, only the host is logged in to, through it."""
    with hops.master("gateway"):
        assert hops.new_logins("gateway") == (0, 1)


def test_host_master(hops: MasterHops, loop: AsyncioThread) -> None:
    """With a master for the host there is no login. Programs run there, ports are forwarded with half-close, a port
    without a server is refused, and a keepalive is answered.
    """
    with hops.master("host"), echo_server(loop) as port:
        before = hops.logins()
        with hops.client.connected("host", ssh_config=hops.config("host")) as connection:
            for _ in range(3):
                assert run_program(connection, "server_status", {}, timeout_s=30)["problem"] == ""
            assert connection.run("echo $0; exit 3", hide=True, warn=True, in_stream=False).exited == 3
            with forwarding(connection, port) as (_, (local_port,)):
                block = os.urandom(3_000_000)
                assert echo(local_port, block) == block
            assert forwarding_refusal(connection, 1)
            assert host_key(connection) == hops.host.public_key.split()[1]
            check_keepalive(connection)
        assert hops.logins() == before


def check_keepalive(connection: Connection) -> None:
    """Send keepalives, and wait for each answer."""
    for _ in range(2):
        sent_at = connection.transport.packetizer.last_received_at
        connection.transport.send_keepalive()
        wait_until(
            lambda sent_at=sent_at: connection.transport.packetizer.last_received_at > sent_at,  # type: ignore[misc]
            "the keepalive is answered",
        )


def echo(port: int, block: bytes) -> bytes:
    """What an echo server at the port returns for a block and the end after it."""
    with socket.create_connection((LOOPBACK, port)) as sock:

        def send() -> None:
            sock.sendall(block)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = bytearray()
        while data := sock.recv(65536):
            received += data
        sender.join()
    return bytes(received)


def test_dying_master(hops: MasterHops) -> None:
    """When the master ends, the connection over it has ended too."""
    with (
        hops.master("host") as pid,
        hops.client.connected("host", ssh_config=hops.config("host")) as connection,
    ):
        assert isinstance(connection.transport, MuxTransport)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not connection.is_connected, "the connection has ended")


@contextlib.contextmanager
def _stopped(hops: MasterHops, pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def _killed(hops: MasterHops, pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGKILL)
    yield


@contextlib.contextmanager
def _replaced_by_a_file(hops: MasterHops, pid: int) -> Iterator[None]:
    for name in ("gateway", "host"):
        path = hops.control_path(name)
        path.unlink(missing_ok=True)
        path.write_text("")
    yield


@contextlib.contextmanager
def _in_a_shared_folder(hops: MasterHops, pid: int) -> Iterator[None]:
    folder = hops.sockets
    mode = stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0o777)
    yield
    folder.chmod(mode)


@contextlib.contextmanager
def _another_program(hops: MasterHops, pid: int) -> Iterator[None]:
    """A program that answers the first message with something else."""
    path = hops.control_path("host")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as client:
                client.recv(100)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(
    "fault", [_stopped, _killed, _replaced_by_a_file, _in_a_shared_folder, _another_program]
)
def test_unusable_master(hops: MasterHops, fault: Fault) -> None:
    """A master that hangs or was killed, a path that is no socket or may be another account's, and another program
    there, are ignored: both hops are logged in to.
    """
    with hops.master("host") as pid, fault(hops, pid):
        assert hops.new_logins("host") == (1, 1)


def test_refusing_master(client: Client, sockets: Path) -> None:
    """A master to which the server grants no second session is not used for the host."""
    hops = MasterHops(client, sockets, "MaxSessions 0")
    with hops.master("host"):
        before = hops.logins()
        with client.connected("host", ssh_config=hops.config("host")) as connection:
            assert not isinstance(connection.transport, MuxTransport)
        assert hops.logins() == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("name", ["gateway", "host"])
def test_pinned_key(hops: MasterHops, name: str) -> None:
    """A hop whose key is pinned must present it to the program itself, although the master has logged in there."""
    pins = {"gateway": [hops.gateway.fingerprint()], "host": [hops.host.fingerprint()]}
    wrong = pins | {name: [SOME_FINGERPRINT]}
    with hops.master(name):
        assert hops.new_logins(name, ssh=SSH(host_keys=pins)) == (0, int(name == "gateway"))
        hops.client.expect_error(
            "host", 5, "does not match ssh.host_keys", ssh_config=hops.config(name), ssh=SSH(host_keys=wrong)
        )


@pytest.mark.parametrize("control_master", ["ask", "autoask"])
def test_master_that_asks(hops: MasterHops, control_master: str) -> None:
    """A master that asks the user for each use is not used."""
    with hops.master("host"):
        before = hops.logins()
        config = hops.config("host", more=f"  ControlMaster {control_master}\n")
        with hops.client.connected("host", ssh_config=config):
            assert hops.logins() == (before[0] + 1, before[1] + 1)


def test_machine(hops: MasterHops) -> None:
    """A session's machine is recognized by the name that it reports; a master that leads to another one is not used."""
    key = hops.host.public_key.split()[1]
    with hops.master("host"):
        before = hops.logins()
        for name, is_used in ((os.uname().nodename, True), ("another-machine", False)):
            target = ConnectTarget(parse_destination("host", "the host"), Machine(name, key))
            settings = hops.client.settings(ssh_config=hops.config("host"))
            connection = connect(settings, target, CredentialPrompter(ScriptedPrompter()))
            assert isinstance(connection.transport, MuxTransport) == is_used
            assert host_key(connection) == key
            close_all()
        assert hops.logins() == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("name", ["gateway", "host"])
def test_tasks(network: Network, sockets: Path, name: str) -> None:
    """With a master for a hop, no task logs in there, or on the way there. A tunnel outlives the master: it logs in by
    itself.
    """
    server = getattr(network, name)
    with (network.home / ".ssh" / "config").open("w") as config:
        config.write(f"Host {LOOPBACK}\n  ControlPath {sockets}/%p\n")
    config_of_master = network.folder / "ssh_config"
    config_of_master.write_text(network.ssh_config())
    with ssh_master(name, config_of_master, sockets / str(server.port)) as master:
        logins, gateway_logins = server.logins(), network.gateway.logins()
        assert_success(network.user.fab("up", "--detach"))
        assert network.user.only_session()["server"] == "running"
        assert_success(network.user.fab("logs"))
        assert_success(network.user.fab("doctor"))
        assert (server.logins(), network.gateway.logins()) == (logins, gateway_logins)
        session = network.user.only_session()
        master.kill()
        wait_until(lambda: server.logins() == logins + 1, "the tunnel has logged in")
        wait_until(lambda: network.user.only_session()["tunnel"] == "open", "the tunnel is open again")
    assert get_api(session["local_port"])[0] == session["certificate_sha256"]
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()
