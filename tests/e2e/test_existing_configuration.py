"""`secure` fixes the configuration of Jupyter that a home folder has from earlier years, whichever Jupyter runs there
now.
"""

import json
import shutil
import socket
import ssl
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth.security import passwd
from websocket import WebSocketBadStatusException

from tests.kit.cli import User, assert_error, assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.leaks import command_line, listening_addresses, processes_below
from tests.kit.ports import free_port
from tests.kit.users import PASSWORD
from tests.kit.wait import TIMEOUT_S

OLD_PASSWORD = "the password of 2019"
ANSWERS = ("--password-file", "-")
BY_HAND = """\
# Configuration file for jupyter-notebook.
from os import path

c = get_config()
c.NotebookApp.ip = '*'  # from anywhere
c.NotebookApp.open_browser = False; c.NotebookApp.allow_origin = '*'
c.NotebookApp.password = u'{password_hash}'
if path.exists('/'):
    c.NotebookApp.allow_remote_access = True
    c.NotebookApp.certfile = path.expanduser(
        '~/mycert.pem'
    )
c.ServerApp.disable_check_xsrf = True
c.FileContentsManager.delete_to_trash = False
"""
NEWER = """\
c.ServerApp.ip = '0.0.0.0'
c.NotebookApp.ip = '0.0.0.0'
c.LabApp.allow_remote_access = True
c.ServerApp.allow_origin = 'https://example.org'
c.PasswordIdentityProvider.hashed_password = ''
c.IdentityProvider.token = ''
c.ServerApp.ssl_options = {'ssl_version': 4}
c.ServerApp.base_url = '/elsewhere/'
c.Session.key = b''
c.KernelManager.ip = '0.0.0.0'
"""


@dataclass(frozen=True)
class Before:
    """The configuration before `secure`: files below the remote home, the settings that it disables, and those that
    it keeps.
    """

    files: dict[str, str]
    disabled: set[str]
    stays: dict[str, str]
    secrets: list[str] = field(default_factory=list)


def old() -> Before:
    """As a guide of 2019 describes it: notebook 5 or 6, a SHA-1 hash, an RSA-1024 certificate without names."""
    password_hash = passwd(OLD_PASSWORD, "sha1")  # type: ignore[no-untyped-call] # Jupyter has no types here
    config = {
        "NotebookApp": {
            "password": password_hash,
            "certfile": "{home}/.ssh/cert.pem",
            "keyfile": "{home}/.ssh/key.key",
            "nbserver_extensions": {"jupyterlab": True},
        }
    }
    return Before(
        {
            ".jupyter/jupyter_notebook_config.json": json.dumps(config),
            ".jupyter/jupyter_notebook_config.py": BY_HAND.format(password_hash=password_hash),
        },
        {
            "NotebookApp.ip = '*'",
            "NotebookApp.allow_origin = '*'",
            "NotebookApp.password",
            "NotebookApp.allow_remote_access = True",
            "NotebookApp.certfile",
            "ServerApp.disable_check_xsrf = True",
        },
        {
            ".jupyter/jupyter_notebook_config.py": "c.FileContentsManager.delete_to_trash = False\n",
            ".jupyter/jupyter_notebook_config.json": '"nbserver_extensions"',
        },
        [password_hash],
    )


def new() -> Before:
    """As an administrator of shared servers may have it: much is open on purpose, in Python and in JSON."""
    password_hash = passwd(OLD_PASSWORD)  # type: ignore[no-untyped-call]
    config = {
        "IdentityProvider": {"hashed_password": password_hash},
        "ServerApp": {"allow_remote_access": True, "terminals_enabled": False},
    }
    return Before(
        {
            ".jupyter/jupyter_server_config.json": json.dumps(config),
            ".jupyter/jupyter_server_config.py": NEWER,
            ".jupyter/jupyter_lab_config.json": json.dumps({"ServerApp": {"password": password_hash}}),
        },
        {
            "NotebookApp.ip = '0.0.0.0'",
            "LabApp.allow_remote_access = True",
            "ServerApp.allow_origin = 'https://example.org'",
            "ServerApp.ssl_options = {'ssl_version': 4}",
            "IdentityProvider.token",
            "Session.key",
            "KernelManager.ip = '0.0.0.0'",
        },
        {
            ".jupyter/jupyter_server_config.py": "c.ServerApp.base_url = '/elsewhere/'\n",
            ".jupyter/jupyter_server_config.json": '"terminals_enabled": false',
        },
        [password_hash],
    )


@pytest.fixture
def unconfigured_user(sandbox_user: User) -> Iterator[User]:
    """The same, without a session, and without the configuration and state of another test on the hosts."""
    yield sandbox_user
    sandbox_user.stop_all_sessions()
    for name in (".jupyter", ".ssh", ".local/state"):
        shutil.rmtree(sandbox_user.remote_home / name, ignore_errors=True)


@pytest.mark.parametrize("before", [old, new])
@pytest.mark.parametrize(
    ("application", "family"),
    [("notebook", "classic"), ("notebook", "server"), ("lab", "server"), ("server", "server")],
    ids=["notebook 6", "notebook 7", "lab 4", "server 2"],
)
def test_matrix(
    unconfigured_user: User,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    application: str,
    family: str,
    before: Any,
) -> None:
    """`secure` reports each insecure setting, keeps a private backup, keeps harmless settings, and leaves nothing
    open.
    """
    there: Before = before()
    _write(unconfigured_user, there)
    notebook: dict[str, Any] = {"application": application, "remote_port": free_port()}
    if family == "classic":
        notebook["environment"] = str(request.getfixturevalue("notebook6_venv"))
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps({"notebook": notebook}))
    fab = ("-f", str(settings))

    # Without `secure` no open server is started.
    assert_error(unconfigured_user.fab(*fab, "serve"), 6)
    up = assert_success(unconfigured_user.fab(*fab, "up", "--detach", *ANSWERS, stdin=f"{PASSWORD}\n"))
    assert f"jupyter {application} {'6.' if family == 'classic' else ''}" in up.stdout
    for setting in there.disabled:
        assert f"disabled {setting}" in up.stdout, setting
    assert not any(secret in up.stdout + up.stderr for secret in there.secrets)
    # A strong hash stays if this Jupyter reads it.
    keeps_its_password = before is new and family == "server"
    assert ("password unchanged" in up.stdout) == keeps_its_password
    passwords = (OLD_PASSWORD, PASSWORD) if keeps_its_password else (PASSWORD, OLD_PASSWORD)
    _assert_protected(unconfigured_user, port_in(up), *passwords)

    backups = _backups(unconfigured_user)
    for name, content in there.files.items():
        if _changed(unconfigured_user, name, content):
            assert content in backups.values(), f"no backup of {name}"
    for name, what in there.stays.items():
        assert what in (unconfigured_user.remote_home / name).read_text(), name
    second_run = assert_success(unconfigured_user.fab(*fab, "up", "--detach"))
    assert "password and certificate unchanged" in second_run.stdout and "disabled" not in second_run.stdout
    assert_success(unconfigured_user.fab(*fab, "secure", "--renew", "stop"))
    assert _backups(unconfigured_user).items() >= backups.items()


# Each setting, and what the check of the server finds.
COMPUTED = {
    "c['NotebookApp'].ip = '0.0.0.0'": "it listened on 0.0.0.0",
    "c['NotebookApp'].allow_remote_access = True": "it answered under a host name other",
    "c['NotebookApp'].allow_origin = '*'": "it answered a request from another web site",
    "c['PasswordIdentityProvider'].hashed_password = c['IdentityProvider'].token = ''": (
        "it answered a request without login"
    ),
}


def test_setting_computed_at_run_time(user: User) -> None:
    """A server that a setting computed at run time leaves open is stopped as soon as it is checked; 6 names the
    setting. Without such a setting it starts.
    """
    config = user.jupyter_config.with_suffix(".py")
    try:
        for hidden, finding in COMPUTED.items():
            config.write_text(f"{hidden}\n")
            result = assert_error(
                user.fab("up", "--detach", INVOKE_NOTEBOOK_REMOTE_PORT=str(free_port())), 6, finding
            )
            assert "ready" not in result.stdout
            assert user.status() == []
            assert not [
                p for p in processes_below(user.home) if "jupyter-notebook" in " ".join(command_line(p))
            ]
    finally:
        config.unlink()
        user.stop_all_sessions()
    assert_success(user.fab("up", "--detach", "stop"))


def _write(user: User, before: Before) -> None:
    """Write the files with open permissions, as an editor leaves them, and the certificate that they name."""
    (user.remote_home / ".jupyter").mkdir()
    for name, content in before.files.items():
        path = user.remote_home / name
        path.write_text(content.replace("{home}", str(user.remote_home)))
        path.chmod(0o644)
        before.files[name] = path.read_text()
    (user.remote_home / ".ssh").mkdir(exist_ok=True)
    openssl = user.execute(
        ["openssl", "req", "-x509", "-nodes", "-days", "365", "-newkey", "rsa:1024", "-subj", "/CN=me"]
        + ["-keyout", str(user.remote_home / ".ssh/key.key"), "-out", str(user.remote_home / ".ssh/cert.pem")]
    )
    assert_success(openssl)


def _changed(user: User, name: str, content: str) -> bool:
    return (user.remote_home / name).read_text() != content


def _backups(user: User) -> dict[str, str]:
    """The backups by name, which nobody else can read."""
    folder = user.remote_home / ".jupyter/notebooks-over-ssh/backups"
    paths = list(folder.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, *paths)} <= {0o700, 0o600}
    return {path.name: path.read_text() for path in paths}


def _assert_protected(user: User, port: int, password: str, no_password: str) -> None:
    """Check each row of the table in docs/security.md that can be observed through the tunnel or beside it."""
    host = user.only_record()["host"]
    with Browser(port, user.certificate_pem(host)) as browser:
        assert not browser.log_in(no_password)
        assert not browser.log_in("")
        assert browser.log_in(password)
        assert browser.status_with("/login", Host=f"example.org:{port}") == 403
        assert browser.status_with("/api/kernels", Origin="https://example.org") == 404
        assert browser.status_with("/api/kernels", Origin=f"https://localhost:{port}") == 200
        assert browser.post_status("/login", password=password) == 403
        assert browser.post_status("/api/kernels") == 403
        with browser.kernel() as kernel:
            assert kernel.run("1+1").text == "2"
            with (
                pytest.raises(WebSocketBadStatusException, match="403"),
                browser.attach(kernel.identity, TIMEOUT_S, origin="https://example.org"),
            ):
                pass
            _assert_private_runtime_files(user, host)
            listeners = listening_addresses(processes_below(user.home))
            assert {address for address, _ in listeners} <= {"127.0.0.1", "::1"}
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        assert not _accepts_tls(port, version), version
    assert _accepts_tls(port, ssl.TLSVersion.TLSv1_2)
    assert _accepts_tls(port, ssl.TLSVersion.TLSv1_3)


def _assert_private_runtime_files(user: User, host: str) -> None:
    """Files that Jupyter writes while it runs are private: connection files with the kernels' keys, its URL and
    token.
    """
    runtime = user.remote_state(host) / "runtime"
    files = [path for path in runtime.rglob("*") if path.is_file()]
    keys = [json.loads(path.read_text()) for path in files if path.name.startswith("kernel-")]
    assert keys and all(len(file["key"]) >= 32 and file["ip"] == "127.0.0.1" for file in keys)
    assert not any(path.stat().st_mode & 0o077 for path in files)
    assert runtime.stat().st_mode & 0o777 == 0o700  # some releases of Jupyter add the sticky bit


def _accepts_tls(port: int, version: ssl.TLSVersion) -> bool:
    """Whether the server accepts this version of TLS from a client that offers every cipher of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only the version matters
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as plain:
        try:
            with context.wrap_socket(plain) as spoken:
                return spoken.version() is not None
        except (ssl.SSLError, ConnectionError):
            return False
