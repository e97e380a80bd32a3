"""What is refused, with which exit code, and in what words: an error, a hint, and never a traceback."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.kit.cli import User, assert_error, assert_success
from tests.kit.leaks import processes_below


@contextlib.contextmanager
def changed(path: Path, content: str) -> Iterator[None]:
    """The file has another content while the body runs."""
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
    """Whatever is refused leaves no server behind, and no session."""
    yield
    assert [p for p in processes_below(user.home) if "jupyter-notebook" in " ".join(p.cmdline())] == []
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
    """A bad argument is refused with 2, by its name."""
    assert_error(user.run(*command.split()), 2, expected)


@pytest.mark.parametrize(
    ("command", "expected"),
    [("fab serve --no-such-flag", "--no-such-flag"), ("invoke no-such-task", "no-such-task")],
)
def test_unknown_argument(user: User, command: str, expected: str) -> None:
    """A flag or a task that does not exist is refused by name, without a traceback."""
    result = user.run(*command.split())
    assert result.returncode != 0
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_bad_variable(user: User) -> None:
    """A setting of a variable that is out of range, or unknown, is refused with 2, by name."""
    assert_error(user.fab("status", INVOKE_NOTEBOOK_NICE="5"), 2, "INVOKE_NOTEBOOK_NICE")
    assert_error(
        user.fab("status", INVOKE_NOTEBOOK_NISE="19"), 2, "INVOKE_NOTEBOOK_NISE", "INVOKE_NOTEBOOK_NICE"
    )


def test_password_that_is_too_short(user: User) -> None:
    """A password that protects nothing is refused with 2, and not repeated."""
    result = assert_error(user.fab("secure", "--renew", "--password-file", "-", stdin="hunter2\n"), 2, "8")
    assert "hunter2" not in result.stdout + result.stderr


def test_host_that_does_not_exist(user: User) -> None:
    """A host of which the gateway knows nothing is refused with 3, by name."""
    assert_error(user.fab("-H", "nowhere", "serve"), 3, "nowhere")
    assert_error(user.invoke("serve", "--host", "nowhere"), 3, "nowhere")


def test_login_that_is_refused(user: User) -> None:
    """A gateway that does not take the key is an error of authentication, 4, that tells what was tried."""
    stranger = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    with changed(user.sandbox / "client_key", stranger.decode()):
        assert_error(user.fab("-H", "ashbury", "serve"), 4, "publickey")


def test_host_key_that_changed(user: User) -> None:
    """A host that shows another key than the one on record is refused with 5, and the place of the record named."""
    known_hosts = user.sandbox / "known_hosts"
    lines = [line.split(" ", 1) for line in known_hosts.read_text().splitlines()]
    (another,) = (key for name, key in lines if name == "bonnington")
    spoilt = "".join(f"{name} {another if name == 'ashbury' else key}\n" for name, key in lines)
    with changed(known_hosts, spoilt):
        assert_error(user.fab("-H", "ashbury", "serve"), 5, "ashbury", str(known_hosts), "SHA256:")


def test_host_key_that_is_unknown(user: User) -> None:
    """Where nobody can be asked about it, an unknown host key is refused with 5."""
    known_hosts = user.sandbox / "known_hosts"
    spoilt = "".join(
        line for line in known_hosts.read_text().splitlines(keepends=True) if not line.startswith("ashbury ")
    )
    with changed(known_hosts, spoilt):
        assert_error(user.fab("-H", "ashbury", "serve"), 5, "ashbury", "SHA256:")


def test_environment_that_is_missing(user: User) -> None:
    """A missing environment is refused with 6, and the ones that exist are named."""
    result = user.fab("serve", INVOKE_NOTEBOOK_ENVIRONMENT="mlpp")
    assert_error(result, 6, "mlpp", "mlp, plain")


def test_environment_without_jupyter(user: User) -> None:
    """An environment without Jupyter is refused with 6, by `secure` and by `serve`, with what would help."""
    for task in ("secure", "serve"):
        assert_error(
            user.fab(task, INVOKE_NOTEBOOK_ENVIRONMENT="plain"), 6, "plain", "no Jupyter", "pip install"
        )


def test_folder_that_is_missing(user: User) -> None:
    """A missing working folder is refused with 6, and the part of its path that exists is named."""
    result = user.fab("serve", INVOKE_NOTEBOOK_DIRECTORY="~/mlpractical/week1/lab")
    assert_error(result, 6, "mlpractical/week1/lab", f"only {user.remote_home}/mlpractical exists\n")


def test_command_that_fails(user: User) -> None:
    """A command of `notebook.activate` that fails is refused with 6, by the name of the setting."""
    assert_error(user.fab("serve", INVOKE_NOTEBOOK_ACTIVATE="module load nothing"), 6, "notebook.activate")


def test_serve_before_secure(user: User) -> None:
    """A server without a password and a certificate is never started: 6, and the hint is `secure`."""
    with changed(user.jupyter_config, "{}"):
        result = assert_error(user.fab("serve"), 6, "not protected")
    assert "secure" in result.stderr.partition("hint: ")[2]


@pytest.mark.parametrize("content", ['{"ServerApp": {', "[]", '{"ServerApp": 1}'])
def test_unreadable_configuration(user: User, content: str) -> None:
    """A configuration file of Jupyter that is broken is left as it is: 6, with its path."""
    with changed(user.jupyter_config, content):
        assert_error(user.fab("secure", "--renew"), 6, str(user.jupyter_config))
        assert_error(user.fab("serve"), 6, str(user.jupyter_config))


def test_server_that_dies_at_once(user: User) -> None:
    """A server that ends as it starts is an error, 6, with the end of its log; the next start works again."""
    spoilt = "import os, sys\nprint('there is no cheese', file=sys.stderr, flush=True)\nos._exit(3)\n"
    with changed(user.jupyter_config.with_name("jupyter_server_config.py"), spoilt):
        assert_error(user.fab("serve"), 6, "ended during its start", "there is no cheese")
    assert not list(user.remote_home.glob(".local/state/notebooks-over-ssh/*/server.json"))
    assert_success(user.fab("stop", "--all"))


def test_server_that_lets_everybody_in(user: User) -> None:
    """A server whose settings disable its password is ended before anybody learns of it: 6."""
    spoilt = "c.ServerApp.allow_unauthenticated_access = True\nc.IdentityProvider.token = ''\nc.PasswordIdentityProvider.hashed_password = ''\n"
    with changed(user.jupyter_config.with_name("jupyter_server_config.py"), spoilt):
        assert_error(user.fab("serve"), 6)
