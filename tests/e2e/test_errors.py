"""What is refused, with which exit code and message: an error, a hint, and never a traceback."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.kit.cli import User, assert_error, assert_success
from tests.kit.leaks import command_line, processes_below


@contextlib.contextmanager
def changed(path: Path, content: str) -> Iterator[None]:
    """The file has other content during the body."""
    before = path.read_bytes() if path.exists() else None
    path.write_text(content)
    try:
        yield
        assert path.read_text() == content, f"{path} was changed"
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


@pytest.fixture(autouse=True)
def _no_server(user: User) -> Iterator[None]:
    """No refusal leaves a server or a session behind."""
    yield
    assert [p for p in processes_below(user.home) if "jupyter-notebook" in " ".join(command_line(p))] == []
    assert list(user.sessions.glob("*.session.json")) == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("fab tunnel --local-port abc", "--local-port"),
        ("invoke tunnel --local-port 80", "--local-port"),
        ("fab up --local-port 65536", "--local-port"),
        ("fab -H a/host serve", "a/host"),
        ("invoke serve --host a/host", "a/host"),
        ("fab secure --certificate only-one.pem", "--key"),
        ("invoke secure --password-file /no/such/file", "/no/such/file"),
        ("invoke -f /no/such/file.yaml status", "/no/such/file.yaml"),
    ],
)
def test_bad_argument(user: User, command: str, expected: str) -> None:
    """An invalid argument is refused with 2, by its name."""
    assert_error(user.run(*command.split()), 2, expected)


@pytest.mark.parametrize(
    ("command", "expected"),
    [("fab serve --no-such-flag", "--no-such-flag"), ("invoke no-such-task", "no-such-task")],
)
def test_unknown_argument(user: User, command: str, expected: str) -> None:
    """An unknown flag or task is refused by name, without a traceback."""
    result = user.run(*command.split())
    assert result.returncode != 0
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_bad_variable(user: User) -> None:
    """A variable that is unknown, or whose value is out of range, is refused with 2, by name."""
    assert_error(user.fab("status", INVOKE_NOTEBOOK_NICE="5"), 2, "INVOKE_NOTEBOOK_NICE")
    assert_error(
        user.fab("status", INVOKE_NOTEBOOK_NISE="19"), 2, "INVOKE_NOTEBOOK_NISE", "INVOKE_NOTEBOOK_NICE"
    )


def test_short_password(user: User) -> None:
    """A password that is too short is refused with 2, and not repeated."""
    result = assert_error(user.fab("secure", "--renew", "--password-file", "-", stdin="hunter2\n"), 2, "8")
    assert "hunter2" not in result.stdout + result.stderr


def test_unknown_host(user: User) -> None:
    """A host that the gateway does not know is refused with 3, by name."""
    assert_error(user.fab("-H", "nowhere", "serve"), 3, "nowhere")
    assert_error(user.invoke("serve", "--host", "nowhere"), 3, "nowhere")


def test_refused_login(user: User) -> None:
    """A gateway that refuses the key is an authentication error, 4, which lists the attempts."""
    stranger = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    with changed(user.sandbox / "client_key", stranger.decode()):
        assert_error(user.fab("-H", "ashbury", "serve"), 4, "publickey")


def test_changed_host_key(user: User) -> None:
    """A host with another key than the one on record is refused with 5, and the record's file and line are named."""
    known_hosts = user.sandbox / "known_hosts"
    lines = [line.split(" ", 1) for line in known_hosts.read_text().splitlines()]
    (another,) = (key for name, key in lines if name == "bonnington")
    text = "".join(f"{name} {another if name == 'ashbury' else key}\n" for name, key in lines)
    with changed(known_hosts, text):
        assert_error(user.fab("-H", "ashbury", "serve"), 5, "ashbury", str(known_hosts), "SHA256:")


def test_unknown_host_key(user: User) -> None:
    """Without a terminal an unknown host key is refused with 5."""
    known_hosts = user.sandbox / "known_hosts"
    text = "".join(
        line for line in known_hosts.read_text().splitlines(keepends=True) if not line.startswith("ashbury ")
    )
    with changed(known_hosts, text):
        assert_error(user.fab("-H", "ashbury", "serve"), 5, "ashbury", "SHA256:")


def test_missing_environment(user: User) -> None:
    """A missing environment is refused with 6, and the existing ones are listed."""
    result = user.fab("serve", INVOKE_NOTEBOOK_ENVIRONMENT="mlpp")
    assert_error(result, 6, "mlpp", "mlp, plain")


def test_environment_without_jupyter(user: User) -> None:
    """An environment without Jupyter is refused with 6, by `secure` and by `serve`, with a hint."""
    for task in ("secure", "serve"):
        assert_error(
            user.fab(task, INVOKE_NOTEBOOK_ENVIRONMENT="plain"), 6, "plain", "no Jupyter", "pip install"
        )


def test_missing_folder(user: User) -> None:
    """A missing working folder is refused with 6, and the part of its path that exists is named."""
    result = user.fab("serve", INVOKE_NOTEBOOK_DIRECTORY="~/mlpractical/week1/lab")
    assert_error(result, 6, "mlpractical/week1/lab", f"only {user.remote_home}/mlpractical exists\n")


def test_failing_activate_command(user: User) -> None:
    """A command of `notebook.activate` that fails is refused with 6, by the name of the setting."""
    assert_error(user.fab("serve", INVOKE_NOTEBOOK_ACTIVATE="module load nothing"), 6, "notebook.activate")


def test_serve_before_secure(user: User) -> None:
    """A server without a password and a certificate is never started: 6, and the hint is `secure`."""
    with changed(user.jupyter_config, "{}"):
        result = assert_error(user.fab("serve"), 6, "not protected")
    assert "secure" in result.stderr.partition("hint: ")[2]


@pytest.mark.parametrize("content", ['{"ServerApp": {', "[]", '{"ServerApp": 1}'])
def test_unreadable_configuration(user: User, content: str) -> None:
    """A broken configuration file of Jupyter is not changed: 6, with its path."""
    with changed(user.jupyter_config, content):
        assert_error(user.fab("secure", "--renew"), 6, str(user.jupyter_config))
        assert_error(user.fab("serve"), 6, str(user.jupyter_config))


def test_server_exits_at_start(user: User) -> None:
    """A server that exits as it starts is an error, 6, with the end of its log; the next start works."""
    text = "import os, sys\nprint('there is no cheese', file=sys.stderr, flush=True)\nos._exit(3)\n"
    with changed(user.jupyter_config.with_name("jupyter_server_config.py"), text):
        assert_error(user.fab("serve"), 6, "ended during its start", "there is no cheese")
    assert not list(user.remote_home.glob(".local/state/notebooks-over-ssh/*/server.json"))
    assert_success(user.fab("stop", "--all"))


def test_server_without_login(user: User) -> None:
    """A server whose settings disable its password is stopped before the tunnel opens: 6."""
    insecure = (
        "c.ServerApp.allow_unauthenticated_access = True\n"
        "c.IdentityProvider.token = ''\n"
        "c.PasswordIdentityProvider.hashed_password = ''\n"
    )
    with changed(user.jupyter_config.with_name("jupyter_server_config.py"), insecure):
        assert_error(user.fab("serve"), 6)
