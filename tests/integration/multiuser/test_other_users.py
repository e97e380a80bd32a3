"""Another user of the host, with an account there, gains no access."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.kit import pam_sshd as machines
from tests.kit.accounts import Account
from tests.kit.cli import assert_error, assert_success, kill, port_in, run
from tests.kit.jupyter_client import Browser
from tests.kit.leaks import command_line
from tests.kit.pam_sshd import HOST_ADDRESS, PamNetwork
from tests.kit.ports import free_port
from tests.kit.sshd import RUN_TIMEOUT_S
from tests.kit.wait import wait_until

PASSWORD = "a password of the tests"
KNOWN_TO_ALL = "a token that all know"

# The stranger's programs, which print what they got.
REQUEST = """
import http.client, ssl, sys
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), context=context, timeout=20)
connection.request(sys.argv[2], sys.argv[3], headers=dict(zip(sys.argv[4::2], sys.argv[5::2])))
print(connection.getresponse().status)
"""
# Sends each kernel a message of Jupyter's protocol, signed without the kernel's key.
MESSAGE_KERNELS = """
import json, socket, sys, zmq
body = [json.dumps(part).encode() for part in (
    {"msg_id": "x", "msg_type": "execute_request", "username": "", "session": "x", "version": "5.3", "date": ""},
    {}, {}, {"code": "open(%r, 'w')" % sys.argv[1], "silent": False, "allow_stdin": False})]
context = zmq.Context()
for port in map(int, sys.argv[2:]):
    with socket.create_connection(("127.0.0.1", port), 20) as probe:
        probe.settimeout(20)
        if probe.recv(1)[:1] != b"\\xff":
            continue  # not ZMTP
    sender = context.socket(zmq.DEALER)
    sender.connect("tcp://127.0.0.1:%d" % port)
    for signature in (b"", b"0" * 64):
        sender.send_multipart([b"<IDS|MSG>", signature, *body])
    sender.close(linger=20000)
context.term()
print("sent")
"""
# A server on a port that records what it receives after the handshake with its certificate.
FAKE_SERVER = """
import socket, ssl, sys
port, kind, received = int(sys.argv[1]), sys.argv[2], open(sys.argv[3], "wb", buffering=0)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
if kind == "TLS":
    context.load_cert_chain(sys.argv[4], sys.argv[4])
listener = socket.create_server(("127.0.0.1", port))
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    try:
        if kind == "TLS":
            connection = context.wrap_socket(connection, server_side=True)
        elif kind == "HTTP":
            connection.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n{\\"version\\": \\"2\\"}")
        while part := connection.recv(65536):
            received.write(part)
    except OSError:
        pass
    connection.close()
"""


@dataclass(frozen=True)
class Shared:
    """A host on which the owner has a server with a running kernel, and a stranger has an account."""

    pam_network: PamNetwork
    owner: Account
    stranger: Account
    facts: dict[str, Any]

    @property
    def state(self) -> Path:
        return self.owner.home / ".local/state/notebooks-over-ssh" / HOST_ADDRESS

    def run_as_stranger(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program on the host as the stranger, over the stranger's own login."""
        return run(*_ssh(self.pam_network, self.stranger, *words), check=False)

    def status_for_stranger(self, method: str, path: str, *headers: str) -> str:
        """The status code of the server's answer to the stranger."""
        port = str(self.facts["remote_port"])
        result = self.run_as_stranger(sys.executable, "-c", REQUEST, port, method, path, *headers)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()


def _ssh(pam_network: PamNetwork, account: Account, *words: str) -> list[str]:
    return [
        *["ssh", "-F", "/dev/null", "-i", str(pam_network.key), "-p", str(pam_network.host.port)],
        *["-o", f"UserKnownHostsFile={pam_network.known_hosts}", "-o", "BatchMode=yes"],
        *[f"{account.name}@{HOST_ADDRESS}", shlex.join(words)],
    ]


def _start_both(folder: Path, packages: Path) -> tuple[PamNetwork, Account, Account]:
    """Start both machines; the owner's home is open, as at many sites, so only file modes protect anything."""
    pam_network = PamNetwork(folder, packages)
    try:
        owner, stranger = pam_network.account(), pam_network.account()
        owner.home.chmod(0o755)
        # Variables that a site, or an old start-up file, may set; they have no effect.
        pam_network.host_machine.environment |= {
            "JUPYTER_TOKEN": KNOWN_TO_ALL,
            "JUPYTER_ALLOW_INSECURE_WRITES": "true",
        }
        pam_network.start()
        pam_network.configure(
            user=owner.name,
            notebook={"host": pam_network.host_destination, "remote_port": free_port(), "nice": 10},
        )
    except BaseException:
        pam_network.close()
        raise
    return pam_network, owner, stranger


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[Shared]:
    """One site for all attempts of the stranger that do not affect the others."""
    machines.skip_unless_supported()
    pam_network, owner, stranger = _start_both(tmp_path_factory.mktemp("others") / "pam_network", packages)
    try:
        public = owner.write("public", "for all\n")
        # An old configuration, so that there is a backup.
        owner.write(".jupyter/jupyter_server_config.py", "c.ServerApp.ip = '0.0.0.0'\n")
        up = assert_success(
            pam_network.user.fab("up", "--detach", "--password-file", pam_network.password_file())
        )
        accounts = Shared(pam_network, owner, stranger, pam_network.user.only_session())
        certificate = pam_network.user.certificate_pem(HOST_ADDRESS)
        with Browser(port_in(up), certificate) as browser:
            assert browser.log_in(PASSWORD)
            with browser.kernel() as kernel:
                assert kernel.run("1+1").text == "2"
                # The stranger's programs see the same files, and can read those that are readable by all.
                assert accounts.run_as_stranger("cat", str(public)).stdout == "for all\n"
                yield accounts
        assert_success(pam_network.user.fab("stop"))
    finally:
        pam_network.close()


@pytest.mark.parametrize(
    "file",
    [
        ".jupyter/notebooks-over-ssh/server.pem",  # the key
        ".jupyter/jupyter_server_config.json",  # the hash
        ".jupyter/notebooks-over-ssh/backups/*",  # the backups
        "{state}/token",  # the token
        "{state}/server.pem",  # the key that the server began with
        "{state}/server.log",  # the log
        "{state}/server.json",  # the server's record
        "{state}/runtime/kernel-*.json",  # a kernel's connection file
        "{state}/runtime/jpserver-*.json",  # the server's own address and token
        "{state}/runtime/jpserver-*-open.html",  # the same, for a browser
        "{state}/runtime/jupyter_cookie_secret",  # signs the login cookies
    ],
)
def test_files(shared: Shared, file: str) -> None:
    """The file exists, belongs to the owner, and the stranger can neither read nor change it."""
    state = str(shared.state.relative_to(shared.owner.home))
    files = list(shared.owner.home.glob(file.replace("{state}", state)))
    assert files
    for path in files:
        before = path.read_bytes()
        assert before and path.stat().st_uid == shared.owner.uid and path.stat().st_mode & 0o077 == 0
        for words in (
            ["cat", str(path)],
            ["sh", "-c", f": >>{shlex.quote(str(path))}"],
            ["rm", "-f", str(path)],
        ):
            result = shared.run_as_stranger(*words)
            assert result.returncode != 0 and result.stdout == "", words
            assert "ermission denied" in result.stderr, result.stderr
        assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("method", "path", "headers", "answers"),
    [
        ("GET", "/login", (), "200"),  # the login form, which shows that the port was reached
        ("GET", "/api/kernels", (), "403"),
        ("POST", "/api/kernels", (), "403"),
        ("GET", "/api/contents", (), "403"),
        ("POST", "/api/terminals", (), "403"),
        ("POST", "/api/shutdown", (), "403"),
        ("GET", "/api/kernels", ("Authorization", "token "), "403"),
        ("GET", "/api/kernels", ("Authorization", f"token {KNOWN_TO_ALL}"), "403"),
        ("GET", "/api/kernels?token=", (), "403"),
        ("GET", "/login", ("Host", "stranger.example:1"), "403"),
    ],
)
def test_port(shared: Shared, method: str, path: str, headers: tuple[str, ...], answers: str) -> None:
    """A client of the port gets only the login form."""
    assert shared.status_for_stranger(method, path, *headers) == answers


@pytest.mark.parametrize("what", ["environ", "cwd", "fd/0", "mem"])
def test_process(shared: Shared, what: str) -> None:
    """The stranger can read neither the server's environment nor its files and memory."""
    result = shared.run_as_stranger(
        "sh", "-c", f"ls -l /proc/{shared.facts['pid']}/fd/ && cat /proc/{shared.facts['pid']}/{what}"
    )
    assert result.returncode != 0 and result.stdout == ""
    assert "ermission denied" in result.stderr


def test_arguments(shared: Shared) -> None:
    """The argument list is readable by all, and contains no secret."""
    result = shared.run_as_stranger("cat", f"/proc/{shared.facts['pid']}/cmdline")
    assert "jupyter" in result.stdout
    token = (shared.state / "token").read_text()
    assert len(bytes.fromhex(token)) * 8 == 192
    password_hash = (
        (shared.owner.home / ".jupyter/jupyter_server_config.json").read_text().split('"argon2:')[1]
    )
    for secret in (token, password_hash.partition('"')[0], PASSWORD):
        assert len(secret) > 16 and secret not in result.stdout


def test_kernels(shared: Shared) -> None:
    """A kernel's ports are open to all on the host, and execute only messages signed with its key."""
    own = {process.pid: process for process in shared.owner.processes()}
    ports = {
        connection.laddr.port
        for process in own.values()
        if process.pid != shared.facts["pid"] and "ipykernel" in " ".join(command_line(process))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(ports) >= 4
    gained = shared.owner.home / "mlpractical" / "gained"
    result = shared.run_as_stranger(sys.executable, "-c", MESSAGE_KERNELS, str(gained), *map(str, ports))
    assert result.stdout == "sent\n", result.stderr
    log = shared.state / "server.log"
    wait_until(lambda: "nvalid Signature" in log.read_text(), "the kernel's log has the invalid signature")
    assert not gained.exists()


def test_gateway(shared: Shared) -> None:
    """No port on the gateway leads to the server: no program of the owner's listens there."""
    serving = [process for process in shared.pam_network.gateway.children() if process.is_running()]
    assert serving
    listening = [
        connection.laddr
        for process in serving
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr.port != shared.pam_network.gateway.port
    ]
    assert listening == []


@contextmanager
def fake_server(pam_network: PamNetwork, stranger: Account, port: int, kind: str) -> Iterator[Path]:
    """The stranger listens on the port; yields the file with the data that it receives."""
    received = stranger.write("received", "")
    words = [sys.executable, "-c", FAKE_SERVER, str(port), kind, str(received)]
    if kind == "TLS":
        pem = stranger.write("pem", "")
        openssl = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=localhost"]
        run(*openssl, "-keyout", pem, "-out", pem.with_name("certificate"))
        pem.write_text(pem.read_text() + pem.with_name("certificate").read_text())
        words.append(str(pem))
    process = subprocess.Popen(
        _ssh(pam_network, stranger, *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout and process.stdout.readline() == "listening\n"
        yield received
    finally:
        process.terminate()
        process.communicate(timeout=RUN_TIMEOUT_S)
        for process_ in stranger.processes():
            process_.kill()


def test_port_taken_before_the_server(tmp_path: Path, packages: Path) -> None:
    """When a stranger has the port first, the server takes another, and the stranger receives nothing."""
    machines.skip_unless_supported()
    pam_network, owner, stranger = _start_both(tmp_path / "pam_network", packages)
    try:
        for kind in ("TLS", "HTTP", "silent"):
            port = free_port()
            pam_network.configure(
                user=owner.name,
                notebook={"host": pam_network.host_destination, "remote_port": port, "nice": 10},
            )
            with fake_server(pam_network, stranger, port, kind) as received:
                up = assert_success(
                    pam_network.user.fab("up", "--detach", "--password-file", pam_network.password_file())
                )
                session = pam_network.user.only_record()
                assert session["remote_port"] != port, kind
                with Browser(port_in(up), session["certificate_pem"]) as browser:
                    assert browser.log_in(PASSWORD)
                assert_success(pam_network.user.fab("stop"))
                assert received.read_bytes() == b"", kind
    finally:
        pam_network.close()


def test_forwarded_port(tmp_path: Path, simulated_packages: Path) -> None:
    """When a stranger listens on a port of `--forward`, no tunnel opens; without that port, one does."""
    machines.skip_unless_supported()
    pam_network, _, stranger = _start_both(tmp_path / "pam_network", simulated_packages)
    try:
        assert_success(
            pam_network.user.fab("secure", "--password-file", pam_network.password_file(), "serve")
        )
        port = free_port()
        with fake_server(pam_network, stranger, port, "HTTP") as received:
            assert_error(
                pam_network.user.fab("tunnel", "--detach", "--forward", str(port)),
                6,
                f"a program of another account (user ID {stranger.uid}) listens",
            )
            assert received.read_bytes() == b""
            assert_success(pam_network.user.fab("tunnel", "--detach"))
        assert_success(pam_network.user.fab("tunnel", "--detach", "--forward", str(port), "stop"))
    finally:
        pam_network.close()


def test_port_taken_after_the_server(tmp_path: Path, simulated_packages: Path) -> None:
    """When a stranger has the port of a server that has ended, no tunnel opens, the error describes the stranger's
    server, and no password is sent.
    """
    machines.skip_unless_supported()
    pam_network, _, stranger = _start_both(tmp_path / "pam_network", simulated_packages)
    try:
        assert_success(
            pam_network.user.fab("secure", "--password-file", pam_network.password_file(), "serve")
        )
        session = pam_network.user.only_record()
        kill(session["pid"])
        for kind, expected in (("TLS", "another certificate, SHA-256 "), ("HTTP", "it does not speak TLS")):
            with fake_server(pam_network, stranger, session["remote_port"], kind) as received:
                for words in (("tunnel",), ("tunnel", "--detach")):
                    result = assert_error(pam_network.user.fab(*words), 6, "is not your server", expected)
                    assert "do not type your password there" in result.stderr
                    assert "ready" not in result.stdout
                request = received.read_bytes()
                assert b"HTTP" not in request and PASSWORD.encode() not in request
                # With TLS, data after the handshake; without, at most the start of one (RFC 8446, section 5.1).
                assert request == b"" if kind == "TLS" else request[:1] == b"\x16"
        assert_success(pam_network.user.fab("stop"))
    finally:
        pam_network.close()
