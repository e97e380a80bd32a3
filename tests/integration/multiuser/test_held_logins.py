"""The login of an open tunnel serves the user's other commands, and nobody else."""

import os
import signal
import stat
import sys
from pathlib import Path

import psutil
import pytest

from tests.kit.cli import assert_success, run
from tests.kit.pam_login import TwoFactorHops, fab_at_terminal
from tests.kit.pam_sshd import PamNetwork
from tests.kit.ports import free_port
from tests.kit.proxied_tunnel import Tunnel
from tests.kit.sshd import Network
from tests.kit.wait import wait_until

NOBODY = 65534
# Prints what the socket sends to a process of that account that says hello. Its folder becomes the working directory
# first, because the account may not enter those above it.
GREET = """
import os, socket, sys
os.chdir(sys.argv[1])
os.setuid(int(sys.argv[3]))
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(20)
    sock.connect(sys.argv[2])
    try:
        sock.sendall(bytes.fromhex(sys.argv[4]))
        print(sock.recv(100).hex())
    except OSError:
        print()
"""
HELLO = "000000080000000100000004"


@pytest.mark.usefixtures("codes")
def test_prompts(pam_network: PamNetwork) -> None:
    """With a password and a one-time code on both hops, `up` asks four times, and every command after it never."""
    hops = TwoFactorHops(pam_network)
    user = pam_network.user
    with fab_at_terminal(pam_network, "up") as terminal:
        hops.answer(terminal)
        terminal.expect("ctrl-c closes the tunnel")
        assert user.only_session()["server"] == "running"
        for command in (["logs"], ["serve"], ["tunnel", "--detach", "--local-port", str(free_port())]):
            assert_success(user.fab(*command))
        terminal.expect("another command still uses this login: ctrl-c ends it")
        session = user.only_session()
        assert (session["server"], session["tunnel"]) == ("running", "open")
        assert_success(user.fab("stop"))
        assert terminal.end() == 0, terminal.output
    for hop in (pam_network.gateway, pam_network.host):
        assert hop.connections() == 1


def logins_folder(network: Network) -> Path:
    return network.home / ".local" / "state" / "notebooks-over-ssh" / "logins"


def test_unusable_login(network: Network) -> None:
    """If the process with the login hangs or was killed, a command logs in itself; the next tunnel offers its own."""
    assert_success(network.user.fab("up", "--detach"))
    assert network.host.logins() == 1
    tunnel = psutil.Process(Tunnel(network.user).record()["pid"])
    tunnel.send_signal(signal.SIGSTOP)
    assert_success(network.user.fab("logs"))
    assert network.host.logins() == 2
    tunnel.kill()
    wait_until(lambda: not tunnel.is_running(), "the tunnel has ended")
    assert list(logins_folder(network).iterdir())
    assert_success(network.user.fab("logs"))
    assert network.host.logins() == 3
    assert_success(network.user.fab("tunnel", "--detach"))
    assert_success(network.user.fab("logs"))
    assert network.host.logins() == 4
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()
    assert list(logins_folder(network).iterdir()) == []


def test_another_account(network: Network) -> None:
    """The sockets are private, and a process of another account that reaches one all the same gets no answer."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to run a program as another account")
    assert_success(network.user.fab("up", "--detach"))
    folder = logins_folder(network)
    sockets = list(folder.iterdir())
    assert len(sockets) == 2
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in sockets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o666)
    folder.chmod(0o777)
    for path in sockets:
        for uid, is_answered in ((os.getuid(), True), (NOBODY, False)):
            result = run(sys.executable, "-c", GREET, folder, path.name, str(uid), HELLO)
            assert bool(result.stdout.strip()) == is_answered
    folder.chmod(0o700)
    assert_success(network.user.fab("stop"))
