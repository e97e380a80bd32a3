"""The login of a tunnel serves the user's other commands, and nobody else."""

import contextlib
import os
import re
import shutil
import signal
import stat
import sys
from getpass import getuser
from pathlib import Path

import psutil
import pytest

from notebooks_over_ssh.tunnel import listen
from tests.kit.cli import Result, assert_error, assert_success, interrupt, kill, run
from tests.kit.leaks import command_line, is_alive, listening_ports
from tests.kit.pam_login import TwoFactorHops, answer_prompt, fab_at_terminal, start
from tests.kit.pam_sshd import PamNetwork
from tests.kit.paused_programs import PausedPrograms
from tests.kit.ports import free_port
from tests.kit.process_memory import secrets_in_memory
from tests.kit.proxied_tunnel import Tunnel
from tests.kit.small_disk import small_disk
from tests.kit.sshd import SERVER_PASSWORD, Network, Server, known_hosts_line
from tests.kit.wait import TIMEOUT_S, wait_until

NOBODY = 65534
OTHER_ADDRESS = "127.0.0.3"
# Makes the program another version of itself.
OTHER_VERSION = """
import notebooks_over_ssh
notebooks_over_ssh.__version__ = "0.0.1"
"""
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


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


@pytest.mark.usefixtures("codes")
def test_prompts(pam_network: PamNetwork) -> None:
    """With a password and a one-time code on both hops, `up --detach` asks four times, and every command after it
    never, even when the tunnel is closed. Another host behind the gateway costs its own two. `login` asks four times
    too. The process that has the login does not keep the answers, and never has the server's password.
    """
    hops = TwoFactorHops(pam_network, OTHER_ADDRESS)
    user, host = pam_network.user, pam_network.host
    with fab_at_terminal(pam_network, "up", "--detach") as terminal:
        hops.answer(terminal)
        assert terminal.end() == 0, terminal.output
    wait_until(lambda: held_secrets(pam_network, *hops.secrets) == [], "the answers are dropped")
    for command in (["logs"], ["serve"], ["tunnel", "--detach", "--local-port", str(free_port())]):
        assert_success(user.fab(*command))
    session = user.only_session()
    assert (session["server"], session["tunnel"]) == ("running", "open")
    with user.at_terminal("fab", "logs", "--host", f"{OTHER_ADDRESS}:{host.port}") as terminal:
        hops.answer_hop(terminal, "host", OTHER_ADDRESS)
        assert terminal.end() == 0, terminal.output
    assert_success(user.fab("stop"))
    assert_success(user.fab("up", "--detach"))
    assert_success(user.fab("stop"))
    assert (pam_network.gateway.connections(), host.connections()) == (1, 2)

    assert_success(user.fab("logout"))
    with user.at_terminal("fab", "login") as terminal:
        hops.answer(terminal)
        assert terminal.end() == 0, terminal.output
    wait_until(lambda: held_secrets(pam_network, *hops.secrets) == [], "the answers are dropped")
    assert_success(user.fab("up", "--detach"))
    assert user.only_session()["tunnel"] == "open"
    assert_success(user.fab("stop"))
    assert (pam_network.gateway.connections(), host.connections()) == (2, 3)


def daemons(network: Network) -> list[psutil.Process]:
    """The background processes of the network's user."""
    return [
        process
        for process in network.processes(network.home)
        if "notebooks_over_ssh.tunnel.daemon" in command_line(process)
    ]


def held_secrets(network: Network, *secrets: str) -> list[str]:
    """Those of the secrets, and of the server's password, that are in the memory of a background process."""
    processes = daemons(network)
    assert processes
    found = []
    for process in processes:
        assert secrets_in_memory(process, network.host.address), "its memory can be searched"
        found += secrets_in_memory(process, SERVER_PASSWORD, *secrets)
    return found


def test_passwords_in_memory(pam_network: PamNetwork) -> None:
    """A background tunnel has the passwords that it reconnects with, and the login that stays after it has none."""
    account = pam_network.account()
    gateway = account.password
    host = pam_network.host_machine.passwords[account.name] = f"another {account.name}"
    start(pam_network, account, "password")
    with fab_at_terminal(pam_network, "--prompt-for-login-password", "up", "--detach") as terminal:
        terminal.expect("Enter login password")
        terminal.type(host)
        answer_prompt(terminal, account, pam_network.gateway, gateway)
        assert terminal.end() == 0, terminal.output
    assert held_secrets(pam_network, gateway, host) == sorted((gateway, host))
    assert_success(pam_network.user.fab("stop"))
    wait_until(lambda: held_secrets(pam_network, gateway, host) == [], "the passwords are dropped")
    assert_success(pam_network.user.fab("logout"))


def test_tunnel_in_the_foreground(network: Network) -> None:
    """The login of a tunnel in the foreground ends with the tunnel, and the command that closes it goes on without."""
    assert_success(network.user.fab("secure", "serve"))
    with network.user.running("fab", "tunnel") as process:
        wait_until(lambda: Tunnel(network.user).record(), "the tunnel is open")
        assert_success(network.user.fab("logs"))
        assert network.host.logins() == 2
        assert_success(
            network.user.fab("secure", "--renew", "--restart", "--password-file", network.password_file())
        )
        output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, output
    assert "the login stays" not in output
    assert network.user.only_session()["tunnel"] == "open"
    assert network.host.logins() == 3
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


STOP_QUESTION = r"stop the server on \S+ too\?"


@pytest.mark.usefixtures("codes")
def test_stop_after_the_tunnel(pam_network: PamNetwork) -> None:
    """After Ctrl-C, `up` in the foreground stops the server by the login that its tunnel had, without a prompt.

    Other commands cannot use that login any more.
    """
    hops = TwoFactorHops(pam_network)
    with fab_at_terminal(pam_network, "up") as terminal:
        hops.answer(terminal)
        terminal.expect("ctrl-c closes the tunnel")
        terminal.interrupt()
        terminal.expect(STOP_QUESTION)
        assert pam_network.user.login_sockets == []
        terminal.type("y")
        assert terminal.end() == 0, terminal.output
    assert pam_network.user.status() == []
    assert (pam_network.gateway.connections(), pam_network.host.connections()) == (1, 1)


def test_stop_after_a_lost_tunnel(network: Network) -> None:
    """If the login that the tunnel had does not answer when the server is to be stopped, `up` logs in again."""
    with network.user.at_terminal("fab", "up", "--password-file", network.password_file()) as terminal:
        terminal.expect("ctrl-c closes the tunnel")
        terminal.interrupt()
        terminal.expect(STOP_QUESTION)
        first = network.gateway.children()
        for process in first:
            process.suspend()
        terminal.type("y")
        assert terminal.end() == 0, terminal.output
    for process in first:
        process.kill()
    assert network.user.status() == []
    assert (network.gateway.logins(), network.host.logins()) == (2, 2)
    network.wait_until_empty()


@pytest.mark.parametrize("lifetime_s", [0, 3])
def test_lifetime(network: Network, lifetime_s: int) -> None:
    """The process ends by itself when nobody has used its login for that time; `stop` says so, and does not wait."""
    network.configure(notebook={"login_lifetime": lifetime_s})
    assert_success(network.user.fab("up", "--detach"))
    (process,) = daemons(network)
    port = Tunnel(network.user).record()["local_port"]
    stopped = assert_success(network.user.fab("stop")).stdout
    assert (f"until no command has used it for {lifetime_s} s" in stopped) == (lifetime_s > 0)
    assert listening_ports([process]) == set()
    listen(port).close()
    if lifetime_s:
        assert process.is_running()
    wait_until(lambda: not is_alive(process), "the process has ended")
    assert network.user.login_sockets == []
    network.wait_until_empty()


def test_lost_login(network: Network) -> None:
    """When the connections of a kept login end, so does its process; the gateway's login outlives that of the host."""
    assert_success(network.user.fab("up", "--detach"))
    assert_success(network.user.fab("stop"))
    (process,) = daemons(network)
    network.host.stop()
    wait_until(lambda: len(network.user.login_sockets) == 1, "the login on the host is not offered")
    network.host.start()
    assert_success(network.user.fab("secure"))
    assert (network.gateway.logins(), network.host.logins()) == (1, 2)
    network.gateway.stop()
    wait_until(lambda: not is_alive(process), "the process has ended")
    assert network.user.login_sockets == []


def test_login_and_logout(network: Network) -> None:
    """`login` keeps one login, which `status` shows; `logout` ends it, but not that of a tunnel."""
    user = network.user
    hops = [f"{getuser()}@{server.destination}" for server in (network.gateway, network.host)]
    assert "no login is held" in assert_success(user.fab("logout")).stdout
    assert f"logged in to {' and '.join(hops)}" in assert_success(user.fab("login")).stdout
    assert "already logged in" in assert_success(user.fab("login")).stdout
    assert re.search(
        rf"held on {' and '.join(hops)}\n +since .*, until ", assert_success(user.fab("status")).stdout
    )
    (process,) = daemons(network)
    (entry,) = user.status_entries()
    assert (entry["login"]["hops"], entry["login"]["pid"], entry["server"]) == (hops, process.pid, None)
    assert_success(user.fab("secure"))
    assert_success(user.fab("logout"))
    assert not is_alive(process)
    assert user.login_sockets == network.gateway.children() == []

    assert_success(user.fab("up", "--detach"))
    (session,) = user.status_entries()
    assert (session["login"]["hops"], session["login"]["tunnel"]) == (hops, "the tunnel to localhost")
    for command in (("logout",), ("logout", "--all")):
        assert_error(user.fab(*command), 1, "the tunnel to localhost uses it", "stop")
    assert_success(user.fab("stop"))
    assert_success(user.fab("logout", "--all"))
    assert (network.gateway.logins(), network.host.logins()) == (2, 2)
    network.wait_until_empty()


def test_logout_without_the_network(network: Network) -> None:
    """`logout` ends a login whose connection does not answer any more, which `status` does not show."""
    assert_success(network.user.fab("login"))
    (process,) = daemons(network)
    gateway = network.gateway.children()
    for child in gateway:
        child.suspend()
    wait_until(lambda: network.user.status_entries() == [], "the login is not offered")
    assert "ended the login on" in assert_success(network.user.fab("logout")).stdout
    assert not is_alive(process)
    for child in gateway:
        child.kill()
    network.wait_until_empty()


def test_logout_of_a_process_that_hangs(network: Network) -> None:
    """`logout` says which process does not answer, and how to end it; the other logins end all the same."""
    user, host = network.user, network.host
    network.write_known_hosts(known_hosts_line(host.port, host.public_key, "localhost"))
    assert_success(user.fab("login"))
    (hanging,) = daemons(network)
    assert_success(user.fab("login", "--host", f"localhost:{host.port}"))
    (other,) = (process for process in daemons(network) if process != hanging)
    hanging.send_signal(signal.SIGSTOP)
    remedy = f"kill -9 {hanging.pid}"
    for command in (("logout",), ("logout", "--all")):
        assert_error(
            user.fab(*command), 1, f"the process {hanging.pid} that holds it does not answer", remedy
        )
    assert not is_alive(other)
    assert_success(network.run(*remedy.split()))
    wait_until(lambda: not is_alive(hanging), "the process has ended")
    assert "no login is held" in assert_success(user.fab("logout", "--all")).stdout
    network.wait_until_empty()


def test_places_without_sockets(network: Network) -> None:
    """Where no socket can be made, `up --detach` works as without this, and `login` says why it does not."""
    folder = network.home / ".local/state/notebooks-over-ssh/logins"
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    assert_success(network.user.fab("up", "--detach"))
    assert network.user.only_session()["tunnel"] == "open"
    assert network.user.only_session()["login"] is None
    assert_error(network.user.fab("login"), 1, "other commands cannot use the login")
    assert_success(network.user.fab("stop"))
    wait_until(lambda: daemons(network) == [], "no process is left")
    network.wait_until_empty()


def test_another_version(network: Network) -> None:
    """A login of another version of the program is not used, and ends at the first command; with a tunnel it stays."""
    assert_success(network.user.fab("login"))
    (process,) = daemons(network)
    (network.folder / "sitecustomize.py").write_text(OTHER_VERSION)
    assert_success(network.user.fab("up", "--detach", PYTHONPATH=str(network.folder)))
    assert network.host.logins() == 2
    wait_until(lambda: not is_alive(process), "the first process has ended")
    assert_success(network.user.fab("logs"))
    assert network.host.logins() == 3
    assert network.user.only_session()["tunnel"] == "open"
    assert_success(network.user.fab("stop"))
    assert "already logged in" not in assert_success(network.user.fab("login")).stdout
    network.wait_until_empty()


def test_other_command_in_the_middle(network: Network) -> None:
    """If the command that had logged in fails, its login stays until the other commands that use it have ended."""
    assert_success(network.user.fab("secure", "serve"))
    shutil.rmtree(network.remote_home / ".jupyter")
    logins = network.host.logins()
    (log,) = network.remote_home.glob(".local/state/notebooks-over-ssh/*/server.log")
    with network.user.at_terminal("fab", "up", "--detach") as terminal:
        terminal.expect("new password")
        with network.user.running("fab", "logs", "--follow") as follower:
            assert follower.stdout and follower.stdout.readline()
            terminal.end_input()
            assert terminal.end() == 1
            with log.open("a") as file:
                file.write("a line for the other command\n")
            assert "a line for the other command\n" in iter(follower.stdout.readline, "")
            interrupt(follower)
            assert follower.wait(TIMEOUT_S) == 0
    assert network.host.logins() == logins + 1
    wait_until(lambda: daemons(network) == [], "no process is left")
    assert_success(network.user.fab("stop"))


def test_unusable_login(network: Network) -> None:
    """If the process with the login hangs or was killed, a command logs in itself; the next tunnel offers its own."""
    assert_success(network.user.fab("up", "--detach"))
    assert network.host.logins() == 1
    tunnel = psutil.Process(Tunnel(network.user).record()["pid"])
    tunnel.send_signal(signal.SIGSTOP)
    assert_success(network.user.fab("logs"))
    assert network.host.logins() == 2
    tunnel.kill()
    wait_until(lambda: not is_alive(tunnel), "the tunnel has ended")
    assert network.user.login_sockets
    assert_success(network.user.fab("logs"))
    assert network.host.logins() == 3
    assert_success(network.user.fab("tunnel", "--detach"))
    assert_success(network.user.fab("logs"))
    assert network.host.logins() == 4
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()
    assert network.user.login_sockets == []


def test_killed_while_a_query_runs(network: Network) -> None:
    """If the process with the login is killed while a program runs that changes nothing, the command logs in itself."""
    user, host = network.user, network.host
    assert_success(user.fab("secure", "serve", "login"))
    log = assert_success(run_while_the_login_is_killed(network, "logs"))
    assert log.stdout.count("the simulated server listens on port") == 1
    assert (network.gateway.logins(), host.logins()) == (3, 3)
    assert_success(user.fab("login"))
    status = run_while_the_login_is_killed(network, "-t", f"{TIMEOUT_S:.0f}", "status")
    assert re.search(r"jupyter notebook in \S+: running", assert_success(status).stdout), status.stdout
    assert_success(user.fab("stop"))
    network.wait_until_empty()


def test_killed_gateway_login_while_a_query_runs(network: Network) -> None:
    """The same holds if the other process's login was only that on the gateway, as for `doctor` of another host."""
    user, host = network.user, network.host
    network.write_known_hosts(known_hosts_line(host.port, host.public_key, "localhost"))
    assert_success(user.fab("login"))
    doctor = run_while_the_login_is_killed(network, "doctor", "--host", f"localhost:{host.port}")
    assert "localhost runs programs" in assert_error(doctor, 6, "the server is not protected").stdout
    assert (network.gateway.logins(), host.logins()) == (2, 3)
    network.wait_until_empty()


def test_killed_while_a_change_is_made(network: Network) -> None:
    """If the process with the login is killed while a program runs that changes something, the command fails."""
    assert_success(network.user.fab("secure", "serve", "login"))
    logins = network.host.logins()
    result = run_while_the_login_is_killed(network, "stop")
    assert_error(result, 3, f"the connection to {network.host.address} was lost", "run it again")
    assert_success(network.user.fab("login"))
    with network.user.running("fab", "logs", "--follow") as follower:
        assert follower.stdout and follower.stdout.readline()
        kill(daemons(network)[0].pid)
        assert follower.wait(TIMEOUT_S) == 3
    assert network.host.logins() == logins + 1
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


def test_killed_while_a_query_runs_in_a_pool(network: Network) -> None:
    """If the name of the pool leads to another member since then, the command logs in to the session's machine."""
    host, user = network.host, network.user
    pool, other = (
        Server(
            name, network.folder / name, network.authorized_keys, network.environment(), address="127.0.0.2"
        )
        for name in ("pool", "other")
    )
    for suffix in ("", ".pub"):
        shutil.copy(host.key.with_suffix(suffix), pool.key.with_suffix(suffix))
    pool.port = other.port = host.port
    network.write_known_hosts(pool.known_hosts_line, other.known_hosts_line)
    network.configure(notebook={"host": pool.destination})
    with contextlib.ExitStack() as servers:
        servers.callback(other.stop)
        servers.callback(pool.stop)
        pool.start()
        assert_success(user.fab("secure", "serve", "login"))
        with PausedPrograms(network) as programs, user.running("fab", "logs") as process:
            programs.wait_for_start()
            pool.process().terminate()
            wait_until(lambda: not is_alive(pool.process()), "the name leads to no machine")
            other.start()
            kill(daemons(network)[0].pid)
            programs.release()
            stdout, stderr = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, stderr
        assert "the simulated server listens" in stdout
        assert (host.logins(), other.logins()) == (1, 0)
        assert_success(user.fab("stop"))
    network.wait_until_empty()


def run_while_the_login_is_killed(network: Network, *command: str) -> Result:
    """Run `fab` with that command, and kill the process with the login while a program of it runs on the host."""
    with PausedPrograms(network) as programs, network.user.running("fab", *command) as process:
        programs.wait_for_start()
        kill(daemons(network)[0].pid)
        programs.release()
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    return Result(process.args, process.returncode, stdout, stderr)


def test_full_disk(network: Network) -> None:
    """Where the disk is full, `up --detach` works, and other commands log in themselves."""
    folder = network.home / ".local/state/notebooks-over-ssh/logins"
    folder.mkdir(mode=0o700, parents=True)
    with small_disk(folder, "nr_inodes=1"):
        assert_success(network.user.fab("up", "--detach"))
        assert_success(network.user.fab("logs"))
        assert network.host.logins() == 3
        assert_error(
            network.user.fab("login"), 1, "other commands cannot use the login: No space left on device"
        )
        assert_success(network.user.fab("stop"))
        wait_until(lambda: daemons(network) == [], "no process is left")
    network.wait_until_empty()


def test_another_account(network: Network) -> None:
    """The sockets are private, and a process of another account that reaches one all the same gets no answer."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to run a program as another account")
    assert_success(network.user.fab("up", "--detach"))
    sockets = network.user.login_sockets
    folder = sockets[0].parent
    assert sorted(folder.iterdir()) == sockets and len(sockets) == 2
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
