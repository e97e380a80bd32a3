"""Faulty networks and servers: errors name the hop within the timeout, and Ctrl-C works at every point."""

import contextlib
import re
import socket
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.kit import faulty_sshd as bad_servers
from tests.kit import wait
from tests.kit.cli import Result, Terminal, assert_error, assert_success
from tests.kit.faulty_sshd import raw_server
from tests.kit.mitm_sshd import AsyncioThread, MitmRecord, MitmServer, mitm_server
from tests.kit.sshd import GATEWAY_OPTIONS, LOOPBACK, Network, known_hosts_line, make_key
from tests.kit.wait import wait_until

TIMEOUT_S = 2
RAW = {
    talk.__name__: talk
    for talk in (
        bad_servers.send_nothing,
        bad_servers.stall_in_kex,
        bad_servers.close_immediately,
        bad_servers.close_after_banner,
        bad_servers.send_endless_banner,
        bad_servers.send_slow_banner,
    )
}
IN_SSH = {
    kind.__name__: kind
    for kind in (bad_servers.StallsDuringAuth, bad_servers.StallsAtChannelOpen, bad_servers.StallsAtExec)
}
AT_A_GATEWAY = [*RAW, "StallsDuringAuth", "StallsAtChannelOpen"]  # no program runs there
HANGING = [
    *[("gateway", how) for how in AT_A_GATEWAY if "stall" in how.lower() or how == "send_nothing"],
    *[("host", how) for how in IN_SSH],
]


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


@contextlib.contextmanager
def filtered_port() -> Iterator[int]:
    """A port that does not answer: its backlog is full, and nobody accepts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        yield address[1]


@contextlib.contextmanager
def faulty_hop(
    network: Network, loop: AsyncioThread, hop: str, how: str
) -> Iterator[tuple[int, "Callable[[float], bool]"]]:
    """A faulty server in place of a hop, known and configured; yields its port."""
    if how in RAW:
        with raw_server(RAW[how]) as (port, connected):
            _configure(network, hop, port)
            yield port, connected.wait
        return
    key = network.folder / "bad_key"
    make_key(key)

    def make_server(record: MitmRecord) -> MitmServer:
        return IN_SSH[how](record)

    with mitm_server(loop, key, server_factory=make_server) as (port, record):
        network.write_known_hosts(known_hosts_line(port, key.with_suffix(".pub").read_text()))
        _configure(network, hop, port)
        yield port, record.stall_event.wait


def _configure(network: Network, hop: str, port: int) -> None:
    destination = f"{LOOPBACK}:{port}"
    if hop == "gateway":
        network.configure(gateway=destination)
    else:
        network.configure(notebook={"host": destination})


def assert_error_in_time(network: Network, code: int, *expected: str) -> Result:
    """The error of `-t 2 secure`, within the timeout, in one line without control characters."""
    with network.user.in_time(TIMEOUT_S):
        result = assert_error(network.user.fab("-t", str(TIMEOUT_S), "secure"), code, *expected)
    assert all(character.isprintable() or character == "\n" for character in result.stderr)
    assert result.stderr.count("error: ") == result.stderr.count("hint: ") == 1
    return result


@pytest.mark.parametrize("how", AT_A_GATEWAY)
def test_faulty_gateway(network: Network, loop: AsyncioThread, how: str) -> None:
    """A gateway that stalls, closes or floods at any step is named, within the timeout."""
    with faulty_hop(network, loop, "gateway", how):
        assert_error_in_time(network, 3, LOOPBACK)


@pytest.mark.parametrize("how", [*RAW, *IN_SSH])
def test_faulty_host(network: Network, loop: AsyncioThread, how: str) -> None:
    """A faulty host behind a good gateway is named."""
    network.configure()
    with faulty_hop(network, loop, "host", how):
        assert_error_in_time(network, 3, LOOPBACK)
    assert network.gateway.logins() == 1


def test_unknown_names(network: Network) -> None:
    """An unknown host name is reported for either hop, with where it was looked up."""
    network.configure(gateway="nowhere.invalid")
    assert_error_in_time(network, 3, "could not resolve host name nowhere.invalid")
    network.configure(notebook={"host": "nowhere.invalid"})
    assert_error_in_time(network, 3, LOOPBACK, "cannot reach nowhere.invalid")


def test_refused_port(network: Network) -> None:
    """A closed port is reported for either hop."""
    network.host.stop()
    assert_error_in_time(network, 3, "cannot reach")
    network.gateway.stop()
    assert_error_in_time(network, 3, f"port {network.gateway.port}")


@pytest.mark.parametrize("hop", ["gateway", "host"])
def test_filtered_port(network: Network, hop: str) -> None:
    """A port that does not answer fails after the timeout of -t."""
    with filtered_port() as port:
        _configure(network, hop, port)
        assert_error_in_time(network, 3, f"within {TIMEOUT_S} s")


def test_long_banner(network: Network, loop: AsyncioThread) -> None:
    """A hundred lines before the version (RFC 4253, section 4.2) are accepted."""
    with contextlib.ExitStack() as stack:
        port = _with_banner(stack, network.gateway.port, 100)
        network.write_known_hosts(known_hosts_line(port, network.gateway.public_key))
        network.configure(gateway=f"{LOOPBACK}:{port}")
        # The error of a host that is down shows that the gateway accepted the login.
        network.host.stop()
        assert_error_in_time(network, 3, "cannot reach")


def _with_banner(stack: contextlib.ExitStack, port: int, number: int) -> int:
    """The port of a proxy that sends lines before everything else."""

    def talk(peer: socket.socket, connected: object) -> None:
        server = socket.create_connection((LOOPBACK, port))
        peer.sendall(b"Use of this system is monitored.\r\n" * number)
        pairs = ((peer, server), (server, peer))
        threads = [threading.Thread(target=_pump, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()

    port_, _ = stack.enter_context(raw_server(talk))
    return port_


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
    source.close()


@pytest.mark.parametrize("hop", ["gateway", "host"])
def test_max_startups(network: Network, hop: str) -> None:
    """A server that accepts no more logins (MaxStartups, PerSourceMaxStartups) is named."""
    server = network.gateway if hop == "gateway" else network.host
    server.stop()
    more = GATEWAY_OPTIONS if hop == "gateway" else (network.environment(),)
    server.start("PerSourceMaxStartups 1", "AllowTcpForwarding yes", *more)
    with socket.create_connection((LOOPBACK, server.port)) as before:
        before.recv(8)
        assert_error_in_time(network, 3, LOOPBACK)
        assert "Startups" in server.log.read_text()
    server.wait_until_no_clients()


def test_max_sessions_0(network: Network) -> None:
    """A host that permits no session (MaxSessions 0) is named; a gateway needs none."""
    network.gateway.stop()
    network.gateway.start("MaxSessions 0", *GATEWAY_OPTIONS)
    network.host.stop()
    network.host.start("MaxSessions 0", network.environment())
    assert_error_in_time(network, 3, LOOPBACK)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_sessions(network: Network, number: int) -> None:
    """One session at a time (MaxSessions 1) is enough, on both hops, also while a tunnel needs it; so are a few."""
    network.gateway.stop()
    network.gateway.start(f"MaxSessions {number}", *GATEWAY_OPTIONS)
    network.host.stop()
    network.host.start(f"MaxSessions {number}", network.environment())
    assert_success(network.user.fab("secure", "serve"))
    assert_success(network.user.fab("up", "--detach"))
    assert network.user.only_session()["server"] == "running"
    assert_success(network.user.fab("serve"))
    assert network.user.only_session()["server"] == "running"
    assert_success(network.user.fab("stop"))


def echoes(terminal: Terminal) -> bool:
    """Whether the terminal echoes input and is in line mode, as at the shell's prompt."""
    flags = termios.tcgetattr(terminal._descriptor)[3]
    return bool(flags & termios.ECHO) and bool(flags & termios.ICANON)


def assert_interrupted(network: Network, terminal: Terminal) -> None:
    """Press Ctrl-C: the program ends at once, prints one word, and restores the terminal."""
    with network.user.in_time(0):
        terminal.interrupt()
        code = terminal.end()
    assert code == 130, f"{code}\n{terminal.output}"
    assert re.search(r"(\n|\033\[K)interrupted\r\n$", terminal.output), terminal.output
    assert "Traceback" not in terminal.output


@contextlib.contextmanager
def restored_terminal(network: Network, *command: str) -> Iterator[Terminal]:
    """A program at a terminal whose settings must be restored in the end."""
    with network.user.at_terminal(*command) as terminal:
        yield terminal
        # Linux keeps a terminal's settings while only the master side is open.
        assert echoes(terminal)


@pytest.mark.parametrize(("hop", "how"), HANGING)
def test_interrupt_while_a_server_stalls(network: Network, loop: AsyncioThread, hop: str, how: str) -> None:
    """Ctrl-C ends the program at once wherever a server stalls, restores the terminal, and leaves no login."""
    with (
        faulty_hop(network, loop, hop, how) as (_, connected),
        restored_terminal(network, "fab", "secure") as terminal,
    ):
        assert connected(wait.TIMEOUT_S), f"never connected: {terminal.output}"
        assert_interrupted(network, terminal)
    network.gateway.wait_until_no_clients()


def test_interrupt_while_connecting(network: Network) -> None:
    """Ctrl-C works while a port does not answer."""
    with filtered_port() as port:
        network.configure(gateway=f"{LOOPBACK}:{port}")
        with restored_terminal(network, "fab", "secure") as terminal:
            program = psutil.Process(terminal._process.pid)
            wait_until(lambda: "SYN_SENT" in _states(program), "it is connecting")
            assert_interrupted(network, terminal)


def _states(process: psutil.Process) -> list[str]:
    return [connection.status for connection in process.net_connections("tcp")]


@pytest.mark.parametrize("question", ["host key", "passphrase", "password"])
def test_interrupt_at_a_prompt(network: Network, question: str) -> None:
    """Ctrl-C at a prompt ends the program at once, and turns echo on again."""
    with at_prompt(network, question) as terminal:
        assert_interrupted(network, terminal)
    network.gateway.wait_until_no_clients()


@pytest.mark.parametrize(
    ("question", "code", "error"),
    [
        ("host key", 5, "the host key of .* is not known"),
        ("passphrase", 1, "no answer at the prompt"),
        ("password", 1, "no answer at the prompt"),
    ],
)
def test_end_of_input_at_a_prompt(network: Network, question: str, code: int, error: str) -> None:
    """Ctrl-D at a prompt is an error with a hint, and turns echo on again."""
    with at_prompt(network, question) as terminal:
        terminal.end_input()
        terminal.expect(rf"error:\S* {error}")
        terminal.expect(r"\nhint: \S")
        assert terminal.end() == code, terminal.output
    assert "Traceback" not in terminal.output
    network.gateway.wait_until_no_clients()


@contextlib.contextmanager
def at_prompt(network: Network, question: str) -> Iterator[Terminal]:
    """A program at a terminal that has printed the prompt."""
    if question == "host key":
        network.known_hosts.write_text("")
    elif question == "passphrase":
        make_key(network.home / "locked", passphrase="locked")
        network.configure(connect_kwargs={"key_filename": str(network.home / "locked")})
    else:
        network.gateway.stop()
        network.gateway.start("PasswordAuthentication yes", "PubkeyAuthentication no", *GATEWAY_OPTIONS)
    with restored_terminal(network, "fab", "secure") as terminal:
        terminal.expect(
            {"host key": r"fingerprint\] ", "passphrase": "passphrase for ", "password": "password: "}[
                question
            ]
        )
        wait_until(lambda: question == "host key" or not echoes(terminal), "echo is off")
        yield terminal
