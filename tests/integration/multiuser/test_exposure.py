"""Files of a user's Jupyter that another account could change or read are made private, or refused by name."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kit.accounts import Account
from tests.kit.cli import assert_error, assert_success
from tests.kit.pam_sshd import HOST_ADDRESS, PamNetwork
from tests.kit.ports import free_port

# Runs the stranger's code in whatever process reads it.
PLANTED = "open({!r}, 'w').close()\n"
LISTEN = """
import os, socket, sys
os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
print("listens", flush=True)
sys.stdin.read()
"""
SYSTEM_USER = 997


@pytest.fixture
def owner(pam_network: PamNetwork) -> Account:
    """The server's account, on a running site, with a home folder open to all as many sites have it."""
    owner, _ = pam_network.account(), pam_network.account()
    owner.home.chmod(0o755)
    pam_network.start()
    pam_network.configure(
        user=owner.name,
        notebook={"host": pam_network.host_destination, "remote_port": free_port(), "nice": 10},
    )
    return owner


def test_configuration_of_another_account(pam_network: PamNetwork, owner: Account) -> None:
    """No server runs a configuration that another account put into an open ~/.jupyter; without it the folder is made
    private.
    """
    ran = owner.home / "mlpractical" / "ran"
    folder = owner.home / ".jupyter"
    folder.mkdir()
    owner.own(folder)
    folder.chmod(0o777)
    planted = folder / "jupyter_server_config.py"
    stranger = pam_network.accounts[1]
    for step in ("secure", "serve"):
        planted.write_text(PLANTED.format(str(ran)))
        stranger.own(planted)
        result = pam_network.user.fab(
            step, *(["--password-file", pam_network.password_file()] if step == "secure" else [])
        )
        assert_error(result, 6, f"{planted} on", f"belongs to another account (user ID {stranger.uid})")
        planted.unlink()
        secured = assert_success(
            pam_network.user.fab("secure", "--password-file", pam_network.password_file())
        )
        if step == "secure":
            assert f"{folder}: others could change it, but no longer can" in secured.stdout
        assert folder.stat().st_mode & 0o777 == 0o755
    assert_success(pam_network.user.fab("serve"))
    # The next `secure` closes a hash that became readable afterwards, and names it.
    config = folder / "jupyter_server_config.json"
    config.chmod(0o644)
    secured = assert_success(pam_network.user.fab("secure"))
    assert f"{config}: others could read it, but no longer can" in secured.stdout
    assert config.stat().st_mode & 0o777 == 0o600
    assert_success(pam_network.user.fab("stop"))
    assert not ran.exists()


def test_groups(pam_network: PamNetwork, owner: Account) -> None:
    """A folder that the account's own group can write to stays; one of a group with other members is made private."""
    folder = owner.home / ".jupyter"
    folder.mkdir()
    owner.own(folder)
    folder.chmod(0o775)
    secured = assert_success(pam_network.user.fab("secure", "--password-file", pam_network.password_file()))
    assert "others could" not in secured.stdout
    os.chown(folder, owner.uid, pam_network.accounts[1].uid)
    folder.chmod(0o775)
    secured = assert_success(pam_network.user.fab("secure"))
    assert f"{folder}: others could change it" in secured.stdout
    assert folder.stat().st_mode & 0o777 == 0o755


def test_permission(pam_network: PamNetwork, owner: Account) -> None:
    """An environment or a folder that the account may not enter is reported as such; so is a read-only folder."""
    closed = pam_network.folder / "closed"
    (closed / "bin").mkdir(parents=True)
    (closed / "bin/python").symlink_to(sys.executable)
    named_environment = owner.home / ".conda/envs/mlp7"
    named_environment.parent.mkdir(parents=True)
    owner.own(named_environment.parent, named_environment.parent.parent)
    (named_environment / "bin").mkdir(parents=True)
    for folder in (closed, named_environment):
        folder.chmod(0o700)
    host = {"host": pam_network.host_destination, "remote_port": free_port(), "nice": 10}
    for environment, inaccessible in ((str(closed), closed), ("mlp7", named_environment)):
        pam_network.configure(user=owner.name, notebook=host | {"environment": environment})
        assert_error(pam_network.user.fab("secure"), 6, "has no permission for", str(inaccessible))
    pam_network.configure(user=owner.name, notebook=host | {"directory": str(closed)})
    result = assert_error(
        pam_network.user.fab("up", "--detach"), 6, "no permission to enter and read", str(closed)
    )
    assert "password" not in result.stdout
    pam_network.configure(user=owner.name, notebook=host | {"directory": "$HOME/nowhere/else"})
    result = assert_error(
        pam_network.user.fab("up", "--detach"),
        6,
        f"no folder {owner.home}/nowhere/else",
        f"only {owner.home} exists",
    )
    assert "password" not in result.stdout
    closed.chmod(0o755)
    pam_network.configure(user=owner.name, notebook=host | {"directory": str(closed)})
    assert_success(pam_network.user.fab("secure", "--password-file", pam_network.password_file()))
    served = assert_success(pam_network.user.fab("serve"))
    assert f"no write permission for {closed} on {HOST_ADDRESS}" in served.stderr
    assert_success(pam_network.user.fab("stop"))


@contextmanager
def listening(user: int, port: int) -> Iterator[None]:
    """A program of that user listens on the port."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", LISTEN, str(user), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "listens\n"
        try:
            yield
        finally:
            process.stdin.close()


def test_forwarded_port_of_a_system_user(pam_network: PamNetwork, owner: Account) -> None:
    """No tunnel opens to a port on which a system account listens; to one of root's, one does."""
    assert_success(pam_network.user.fab("secure", "--password-file", pam_network.password_file(), "serve"))
    port = free_port()
    with listening(SYSTEM_USER, port):
        assert_error(
            pam_network.user.fab("tunnel", "--detach", "--forward", str(port)),
            6,
            f"a program of another account (user ID {SYSTEM_USER}) listens on port {port}",
        )
    with listening(0, port):
        assert_success(pam_network.user.fab("tunnel", "--detach", "--forward", str(port)))
    assert_success(pam_network.user.fab("stop"))
