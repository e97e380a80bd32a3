"""Where only the user can log in again, the tunnel waits for them, and makes no attempt that could lock an account."""

import contextlib
import shutil
import termios
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.kit import accounts
from tests.kit.accounts import Account
from tests.kit.cli import Terminal, assert_success
from tests.kit.https_probe import get_api
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.pam_login import CODE, WRONG, Codes, account_with_codes, fab_at_terminal, start
from tests.kit.pam_sshd import PamNetwork
from tests.kit.ports import free_port
from tests.kit.proxied_tunnel import (
    MB,
    PASSWORD,
    DownloadClient,
    ProxiedNetwork,
    Tunnel,
    background_request,
    running_workload,
)
from tests.kit.sshd import LOOPBACK, known_hosts_line
from tests.kit.tcp_proxy import TcpProxy
from tests.kit.wait import elapsed, wait_until

# Long enough for an automatic attempt: the first backoff is half a second.
QUIET_S = 3.0
NEW_PASSWORD = "the password of a new term"


@contextlib.contextmanager
def through_proxy(
    pam_network: PamNetwork, account: Account, loop: AsyncioThread, **settings: Any
) -> Iterator[TcpProxy]:
    """The route to the gateway leads through a TCP proxy."""
    with contextlib.closing(TcpProxy(loop, pam_network.gateway.port)) as relay:
        pam_network.write_known_hosts(known_hosts_line(relay.port, pam_network.gateway.public_key))
        pam_network.configure(user=account.name, gateway=f"{LOOPBACK}:{relay.port}", **settings)
        yield relay


def gateway_label(account: Account, relay: TcpProxy) -> str:
    """The account on the gateway, as prompts name it."""
    return f"{account.name}@{LOOPBACK}:{relay.port}"


def type_code(terminal: Terminal, account: Account, relay: TcpProxy, codes: Codes) -> None:
    """Wait for the prompt for a code, and answer it."""
    account_label = gateway_label(account, relay)
    terminal.expect(rf"{account_label} \| One-time password.*\s+your answer goes to {account_label}: ")
    terminal.type(codes.next())


def wait_for_login_required(tunnel: Tunnel) -> None:
    """Wait until the tunnel needs its user, which `status` shows."""
    tunnel.wait_until(lambda: tunnel.record().get("login_required"), "the tunnel needs its user")
    assert tunnel.record()["state"] == "reconnecting"
    session = tunnel.user.only_session()
    assert session["tunnel"] == "reconnecting"
    assert session["login_required"]
    assert f"waiting for you: {session['login_required']}" in assert_success(tunnel.user.fab("status")).stdout
    assert tunnel.log().count("waits for you") == 1


def assert_reconnected(tunnel: Tunnel, port: int) -> None:
    """The tunnel is open at the same port, and leads to the server."""
    record = tunnel.record()
    assert (record["state"], record["login_required"], record["local_port"]) == ("open", "", port)
    assert "version" in get_api(port)[1]


def test_one_time_code(pam_network: PamNetwork, codes: Codes, loop: AsyncioThread) -> None:
    """After a disconnect the tunnel makes no attempt at a gateway that wants a code; `tunnel` asks for one, and the
    address stays. In the foreground the tunnel reports that it waits, asks once its user presses Enter, and continues
    at the same port.
    """
    account = account_with_codes(pam_network, codes, "publickey,keyboard-interactive", CODE)
    tunnel = Tunnel(pam_network.user)
    with through_proxy(pam_network, account, loop) as relay:
        with fab_at_terminal(pam_network, "up", "--detach", "--local-port", str(free_port())) as terminal:
            type_code(terminal, account, relay, codes)
            assert terminal.end() == 0, terminal.output
        before = tunnel.record()
        connections = pam_network.gateway.connections()
        relay.cut()
        tunnel.wait_until(lambda: tunnel.record()["login_required"], "the tunnel needs its user")
        wait_until(elapsed(time.monotonic(), QUIET_S), "no attempt is made")
        assert pam_network.gateway.connections() == connections
        wait_for_login_required(tunnel)
        assert "Failed keyboard-interactive" not in pam_network.gateway.log.read_text()
        with pam_network.user.at_terminal("fab", "tunnel", "--detach") as terminal:
            type_code(terminal, account, relay, codes)
            terminal.expect(rf"https://localhost:{before['local_port']}/")
            assert terminal.end() == 0, terminal.output
        assert_reconnected(tunnel, before["local_port"])
        wait_until(lambda: not psutil.pid_exists(before["pid"]), "the old tunnel has ended")

        psutil.Process(tunnel.record()["pid"]).terminate()
        wait_until(lambda: not tunnel.record(), "the tunnel has ended")
        pam_network.user.end_logins()
        with pam_network.user.at_terminal("fab", "tunnel", "--local-port", str(free_port())) as terminal:
            type_code(terminal, account, relay, codes)
            terminal.expect("ctrl-c closes the tunnel")
            before = tunnel.record()
            connections = pam_network.gateway.connections()
            relay.cut()
            terminal.expect("waits for you: ")
            terminal.expect("press enter to log in to .* again: ?")
            wait_until(elapsed(time.monotonic(), QUIET_S), "no attempt is made")
            assert pam_network.gateway.connections() == connections
            terminal.type("")
            type_code(terminal, account, relay, codes)
            terminal.expect(r"reconnected after [\d.]+ s")
            assert_reconnected(tunnel, before["local_port"])
            assert tunnel.record()["pid"] == before["pid"]
            relay.cut()
            terminal.expect("press enter to log in to .* again: ?")
            terminal.interrupt()
            assert terminal.end() == 0, terminal.output
            assert "Traceback" not in terminal.output
        with pam_network.user.at_terminal("fab", "stop") as terminal:
            type_code(terminal, account, relay, codes)
            assert terminal.end() == 0, terminal.output


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_password(pam_network: PamNetwork, loop: AsyncioThread, method: str) -> None:
    """A password that the user typed is used to reconnect. Once it was refused it is not offered again."""
    account = pam_network.account()
    start(pam_network, account, method)
    tunnel = Tunnel(pam_network.user)
    password = account.password
    with through_proxy(pam_network, account, loop, connect_kwargs={}) as relay:
        host = rf"{account.name}@{pam_network.host.address}:{pam_network.host.port} password: "

        def log_in(terminal: Terminal, at_the_gateway: str) -> None:
            terminal.expect(f"{gateway_label(account, relay)} password: ")
            terminal.type(at_the_gateway)
            terminal.expect(host)
            terminal.type(password)
            assert terminal.end() == 0, terminal.output

        with fab_at_terminal(pam_network, "up", "--detach", "--local-port", str(free_port())) as terminal:
            log_in(terminal, password)
        before = tunnel.record()
        before_cut = len(pam_network.gateway_machine.received_passwords())
        relay.cut()
        tunnel.wait_for_outages(1)
        assert pam_network.gateway_machine.received_passwords()[before_cut:] == [password]

        _change_password(pam_network, account, NEW_PASSWORD)
        relay.cut()
        tunnel.wait_until(lambda: tunnel.record()["login_required"], "the tunnel needs its user")
        connections = pam_network.gateway.connections()
        wait_until(elapsed(time.monotonic(), QUIET_S), "no attempt is made")
        assert pam_network.gateway_machine.received_passwords()[before_cut:] == [password, password]
        assert pam_network.gateway.connections() == connections
        wait_for_login_required(tunnel)
        assert pam_network.gateway_machine.received_passwords()[before_cut:] == [password, password]
        with pam_network.user.at_terminal("fab", "tunnel", "--detach") as terminal:
            log_in(terminal, NEW_PASSWORD)
        assert_reconnected(tunnel, before["local_port"])
        assert pam_network.gateway_machine.received_passwords()[before_cut + 2 :] == [NEW_PASSWORD]
        assert WRONG not in pam_network.gateway_machine.received_passwords()
        assert_success(pam_network.user.fab("stop"))


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_password_of_next_hop(pam_network: PamNetwork, loop: AsyncioThread, method: str) -> None:
    """A gateway that no longer accepts the key does not get the host's password, although password_for_next_hop is
    set.
    """
    account = pam_network.account()
    takes = ("PasswordAuthentication yes", "KbdInteractiveAuthentication yes")
    pam_network.options["gateway"] = (f"AuthenticationMethods publickey {method}", *takes)
    pam_network.options["host"] = ("AuthenticationMethods password", *takes)
    pam_network.start()
    tunnel = Tunnel(pam_network.user)
    notebook = {"host": pam_network.host_destination}
    with through_proxy(
        pam_network, account, loop, ssh={"password_for_next_hop": True}, notebook=notebook
    ) as relay:
        host = f"{account.name}@{pam_network.host.address}:{pam_network.host.port} password: "
        with fab_at_terminal(pam_network, "up", "--detach", "--local-port", str(free_port())) as terminal:
            terminal.expect(host)
            terminal.type(account.password)
            assert terminal.end() == 0, terminal.output
        assert pam_network.gateway_machine.received_passwords() == []
        keys = pam_network.authorized_keys.read_bytes()
        pam_network.authorized_keys.write_bytes(b"")
        relay.cut()
        wait_for_login_required(tunnel)
        assert pam_network.gateway_machine.received_passwords() == []
        pam_network.authorized_keys.write_bytes(keys)
        with pam_network.user.at_terminal("fab", "stop") as terminal:
            terminal.expect(host)
            terminal.type(account.password)
            assert terminal.end() == 0, terminal.output


def _change_password(pam_network: PamNetwork, account: Account, password: str) -> None:
    """Change the account's password on the gateway."""
    shadow = pam_network.gateway_machine.folder / "shadow"
    nested = [
        f"{account.name}:{accounts.hash_password(password)}:20000::::::"
        if line.startswith(f"{account.name}:")
        else line
        for line in shadow.read_text().splitlines()
    ]
    # Written in place: the bind mount would not show a new file.
    shadow.write_text("\n".join(nested) + "\n")


def test_changed_host_key(proxied: ProxiedNetwork) -> None:
    """A gateway that comes back with another key is refused, and the tunnel reports it; when the right key is back,
    the tunnel reconnects by itself.
    """
    gateway = proxied.network.gateway
    backup = proxied.network.folder / "kept"
    backup.mkdir()
    with running_workload(proxied, MB) as work:
        known_hosts = proxied.network.known_hosts.read_bytes()
        for file in (gateway.key, gateway.key.with_suffix(".pub")):
            shutil.copy2(file, backup)
        logins = gateway.logins()
        gateway.new_key()
        wait_for_login_required(proxied)
        assert "key" in proxied.record()["login_required"]
        connections = gateway.connections()
        proxied.wait_until(lambda: gateway.connections() > connections + 1, "another attempt is made")
        assert gateway.logins() == logins
        assert proxied.network.known_hosts.read_bytes() == known_hosts
        gateway.stop()
        for file in backup.iterdir():
            shutil.copy2(file, gateway.folder)
        gateway.start()
        proxied.wait_for("open")
        assert_reconnected(proxied, work.before["local_port"])
        assert proxied.record()["pid"] == work.pid
        assert proxied.log().count("waits for you") == 1
        assert proxied.network.known_hosts.read_bytes() == known_hosts
        work.assert_unchanged()


def test_one_line_per_outage(proxied: ProxiedNetwork) -> None:
    """At a terminal an outage is one line, however many attempts fail. When Jupyter has ended, the tunnel says so with
    a hint, and continues with the next server. Ctrl-C ends the tunnel, and restores the terminal.
    """
    user = proxied.user
    with running_workload(proxied, MB) as work:
        port = work.before["local_port"]
        psutil.Process(work.pid).terminate()
        wait_until(lambda: not proxied.record(), "the first tunnel has ended")
        with user.at_terminal("fab", "tunnel", "--local-port", str(port)) as terminal:
            before = termios.tcgetattr(terminal._descriptor)
            terminal.expect("ctrl-c closes the tunnel")
            for _ in range(2):
                _outage(proxied, terminal, attempts=3)
                with background_request(work.client) as request:
                    proxied.first.resume()
                    terminal.expect(r"reconnected after [\d.]+ s")
                assert request.result() == 200
            psutil.Process(work.before["pid"]).kill()
            terminal.expect("has ended; new connections wait until `.*serve` has started a server")
            assert_success(user.fab("serve"))
            terminal.expect("forwards to the new server at ")
            assert_reconnected(proxied, port)
            _outage(proxied, terminal, attempts=1)
            terminal.interrupt()
            assert terminal.end() == 0, terminal.output
            assert termios.tcgetattr(terminal._descriptor) == before
            assert terminal.output.count("reconnecting") == 3, terminal.output
            assert terminal.output.count("reconnected") == 2, terminal.output
            assert "Traceback" not in terminal.output
            assert terminal.output.rstrip(" ").endswith("\n")
        assert user.only_session()["tunnel"] == "closed"
        proxied.first.resume()
        assert_success(user.fab("tunnel", "--detach", "--local-port", str(port)))
        with DownloadClient(port, user.certificate_pem(LOOPBACK)) as client:
            assert client.log_in(PASSWORD)


def _outage(proxied: ProxiedNetwork, terminal: Terminal, attempts: int) -> None:
    """Refuse connections until that many attempts have failed."""
    before = proxied.first.refused_count
    proxied.first.refuse()
    terminal.expect("reconnecting, the address stays")
    wait_until(lambda: proxied.first.refused_count >= before + attempts, f"{attempts} attempts fail")
