"""What a running server exposes: to its owner, to commands that inspect it, and to others."""

import base64
import os
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.kit.cli import User, assert_error, assert_success, interrupt, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.leaks import listening_addresses, processes_below
from tests.kit.ports import free_port
from tests.kit.users import PASSWORD
from tests.kit.wait import TIMEOUT_S, wait_until
from tests.kit.waiting_commands import waits_for_input

FIELDS = {
    "host": str,
    "user": str,
    "gateway": str,
    "server": str,
    "pid": int,
    "remote_port": int,
    "application": str,
    "directory": str,
    "started": str,
    "tunnel": str,
    "local_port": int,
    "url": str,
    "certificate_sha256": str,
    "certificate_expires": str,
}
LOOPBACK = {"127.0.0.1", "::1"}


class Watch(threading.Thread):
    """Reads all argument lists and environments that it can, again and again, until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.contents: dict[bytes, str] = {}
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.005):
            for name in os.listdir("/proc"):
                for kind in ("cmdline", "environ") if name.isdigit() else ():
                    try:
                        self.contents.setdefault(Path("/proc", name, kind).read_bytes(), f"{kind} of {name}")
                    except OSError:  # it has ended, or is another user's
                        continue

    def end(self) -> None:
        self._over.set()
        self.join()


@dataclass(frozen=True)
class Session:
    """A session with a server, a tunnel and a kernel, and what was observed and printed while it was made."""

    user: User
    facts: dict[str, Any]
    watch: Watch
    output: str


@pytest.fixture(scope="module")
def session(user: User) -> Iterator[Session]:
    """The one session of this module, watched from before its first command."""
    watch = Watch()
    watch.start()
    renewed = assert_success(user.fab("secure", "--renew", "--password-file", "-", stdin=PASSWORD))
    up = assert_success(user.fab("up", "--detach"))
    facts = user.only_session()
    with Browser(port_in(up), user.certificate_pem(facts["host"])) as browser:
        assert browser.log_in(PASSWORD)
        with browser.kernel() as kernel:
            assert kernel.run("1").status == "ok"
    watch.end()
    yield Session(user, facts, watch, renewed.stdout + renewed.stderr + up.stdout + up.stderr)
    assert_success(user.fab("stop"))


def test_status_has_every_field(session: Session) -> None:
    """`status --json` has every documented field, with correct values, under both programs."""
    assert {name: type(session.facts.get(name)) for name in FIELDS} == FIELDS
    assert session.facts["server"] == "running"
    assert session.facts["tunnel"] == "open"
    assert session.facts["gateway"] == "sandbox"
    assert session.facts["application"] == "notebook"
    assert session.facts["directory"] == str(session.user.remote_home / "mlpractical")
    assert session.facts["url"] == f"https://localhost:{session.facts['local_port']}/"
    assert session.user.fab("status", "--json").stdout == session.user.invoke("status", "--json").stdout


def test_status_table(session: Session) -> None:
    """`status` shows the host, the ports, the URL and the state."""
    output = assert_success(session.user.fab("status")).stdout
    for name in ("host", "server", "remote_port", "tunnel", "url"):
        assert str(session.facts[name]) in output


def test_nice(session: Session) -> None:
    """The server and its kernels run at nice 19."""
    server = psutil.Process(session.facts["pid"])
    assert server.children()
    assert {process.nice() for process in (server, *server.children(recursive=True))} == {19}


def test_loopback_only(session: Session) -> None:
    """Server, kernels, tunnel and sandbox listen on this machine's loopback addresses only."""
    listeners = listening_addresses(processes_below(session.user.home))
    assert {session.facts["remote_port"], session.facts["local_port"]} <= {port for _, port in listeners}
    assert {address for address, _ in listeners} <= LOOPBACK


@pytest.mark.parametrize("end", ["remote_port", "local_port"])
def test_tls_only(session: Session, end: str) -> None:
    """A request without TLS gets no response."""
    with socket.create_connection(("127.0.0.1", session.facts[end]), timeout=TIMEOUT_S) as connection:
        connection.sendall(b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    assert b"HTTP" not in answer


def test_login_is_required(session: Session) -> None:
    """A client that has not logged in gets only the login form, and a wrong password does not help."""
    with Browser(session.facts["local_port"], session.user.certificate_pem(session.facts["host"])) as browser:
        for path in ("/api/kernels", "/api/contents", "/api/sessions", "/api/terminals"):
            assert browser.status(path) == 403
        assert browser.status("/tree") == 302
        assert not browser.log_in(f"{PASSWORD}!")
        assert not browser.log_in("")


def test_certificate_is_self_signed(session: Session) -> None:
    """A client without the certificate refuses the server; the certificate's names are loopback's."""
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(session.facts["url"], verify=ssl.create_default_context(), trust_env=False)


def test_no_secret_in_processes(session: Session) -> None:
    """No secret was in an argument list or an environment at any moment, from `secure` on, also with a running
    kernel.
    """
    for content, where in session.watch.contents.items():
        for name, secret in _secrets(session).items():
            assert secret not in content, f"{name} is in {where}"
    assert any(str(session.user.home).encode() in content for content in session.watch.contents)


def test_no_secret_in_readable_files(session: Session) -> None:
    """No file that others can read contains a secret."""
    open_to_others = 0
    for path in _files(session.user.home):
        if path.stat().st_mode & 0o044:
            open_to_others += 1
            content = path.read_bytes()
            for name, secret in _secrets(session).items():
                assert secret not in content, f"{name} is in {path}"
    assert open_to_others


def test_no_secret_in_a_log(session: Session) -> None:
    """No log contains a secret, whoever may read it, and neither does the commands' output."""
    logs = [path for path in _files(session.user.home) if path.suffix == ".log"]
    assert {"daemon.log", "server.log"} <= {path.name for path in logs}
    logged = {str(path): path.read_bytes() for path in logs} | {"the output": session.output.encode()}
    for where, content in logged.items():
        for name, secret in _secrets(session).items():
            assert secret not in content, f"{name} is in {where}"


def test_private_folders(session: Session) -> None:
    """Only their owner can enter the folders of the sessions, of the sandbox, and of the server's credentials."""
    user = session.user
    folders = [user.sessions, user.sandbox, user.remote_state(session.facts["host"])]
    folders += [user.jupyter_config.parent / "notebooks-over-ssh"]
    assert {str(folder): stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {
        str(folder): 0o700 for folder in folders
    }


def test_log_lines(session: Session) -> None:
    """`logs --lines 5` shows the last five lines of the server's log."""
    log = session.user.remote_state(session.facts["host"]) / "server.log"
    lines = assert_success(session.user.fab("logs", "--lines", "5")).stdout.splitlines()
    assert lines == log.read_text().splitlines()[-5:]
    assert_error(session.user.invoke("logs", "--lines", "-1"), 2, "--lines")


def test_log_follow(session: Session) -> None:
    """`logs --follow` shows each new line; Ctrl-C ends it with 0 and leaves nothing on the host."""
    log = session.user.remote_state(session.facts["host"]) / "server.log"
    before = set(processes_below(session.user.home))
    with session.user.running("fab", "logs", "--follow", "--lines", "1") as process:
        assert process.stdout and process.stdout.readline()
        with log.open("a") as file:
            file.write("a line that is new\n")
        assert process.stdout.readline() == "a line that is new\n"
        interrupt(process)
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr and process.stderr.read() == ""
    wait_until(
        lambda: {p for p in processes_below(session.user.home) if not waits_for_input(p)} <= before,
        "no tail is left",
    )


def test_taken_local_port(session: Session) -> None:
    """A local port that another program has is refused, and the program named; the old tunnel stays."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        result = assert_error(
            session.user.invoke("tunnel", "--detach", "--local-port", str(port)), 2, str(port)
        )
    assert f"(process {os.getpid()})" in result.stderr
    assert session.user.only_session()["tunnel"] == "open"


def _secrets(session: Session) -> dict[str, bytes]:
    """Every secret, by name."""
    user = session.user
    config = user.jupyter_config.read_text()
    (password_hash,) = (part for part in config.split('"') if part.startswith("argon2:"))
    secrets = {
        "the password": PASSWORD.encode(),
        "the hash of the password": password_hash.rpartition("$")[2].encode(),
        "the token": (user.remote_state(session.facts["host"]) / "token").read_bytes().strip(),
    }
    keys = [path for path in _files(user.home) if b"PRIVATE KEY-----" in path.read_bytes()]
    assert {"client_key", "gateway_key", "host_key", "server.pem"} == {path.name for path in keys}
    for path in keys:
        _, _, body = path.read_bytes().partition(b"PRIVATE KEY-----\n")
        lines = body.partition(b"\n-----END")[0].splitlines()
        # The last full line: an OpenSSH key begins with its public part.
        secret = lines[-2] if len(lines) > 1 else lines[0]
        assert base64.b64decode(secret + b"==", validate=False)
        secrets[f"the key {path.relative_to(user.home)}"] = secret
    assert all(len(secret) >= 16 for secret in secrets.values())
    return secrets


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
