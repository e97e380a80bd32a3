"""Where only a person can log in again the tunnel waits for them, and makes no attempt that could lock an account."""

import contextlib
import shutil
import termios
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.accounts import machines
from tests.accounts.machines import Account, Site
from tests.accounts.test_codes import CODE, Codes, codes, wanting
from tests.accounts.test_passwords import WRONG, at_terminal, start
from tests.journey.program import Terminal, succeeded
from tests.openssh.network import LOOPBACK, free_port, known_hosts_line, wait_until
from tests.openssh.test_journey import get_api
from tests.proofs.impostor import Loop
from tests.tunnel.relay import Relay
from tests.tunnel.way import MB, OUTAGE_PATIENCE_S, PASSWORD, Tunnel, Visit, Way, Window, since, working

__all__ = ["codes"]

# Time enough for an attempt that nobody made: the first pause is half a second.
QUIET_S = 3.0
NEW_PASSWORD = "the password of a new term"


@contextlib.contextmanager
def reached_through(site: Site, account: Account, loop: Loop, **settings: Any) -> Iterator[Relay]:
    """The way to the gateway leads through a relay."""
    with contextlib.closing(Relay(loop, site.gateway.port)) as relay:
        site.know(known_hosts_line(relay.port, site.gateway.public_key))
        site.configure(user=account.name, gateway=f"{LOOPBACK}:{relay.port}", **settings)
        yield relay


def at_gateway(account: Account, relay: Relay) -> str:
    """The account at the gateway, as prompts name it."""
    return f"{account.name}@{LOOPBACK}:{relay.port}"


def type_code(terminal: Terminal, account: Account, relay: Relay, codes: Codes) -> None:
    """Wait for the prompt for a code, and answer it."""
    who = at_gateway(account, relay)
    terminal.expect(rf"{who} \| One-time password.*\s+your answer goes to {who}: ")
    terminal.type(codes.next())


def waits(tunnel: Tunnel) -> None:
    """Wait until the tunnel waits for its user, who sees that in `status`."""
    tunnel.wait_until(lambda: tunnel.record().get("waits_for_you"), "the tunnel waits for its user")
    assert tunnel.record()["state"] == "reconnecting"
    session = tunnel.user.only_session()
    assert session["tunnel"] == "reconnecting"
    assert session["login_required"]
    assert f"it waits for you: {session['login_required']}" in succeeded(tunnel.user.fab("status")).stdout
    assert tunnel.log().count("waits for you") == 1


def again(tunnel: Tunnel, port: int) -> None:
    """The tunnel is open at the same port, and leads to the server."""
    record = tunnel.record()
    assert (record["state"], record["waits_for_you"], record["local_port"]) == ("open", "", port)
    assert "version" in get_api(port)[1]


def test_a_code(site: Site, codes: Codes, loop: Loop) -> None:
    """After a loss nobody knocks at a gateway that wants a code; `tunnel` asks for one, and the address is the same."""
    account = wanting(site, codes, "publickey,keyboard-interactive", CODE)
    tunnel = Tunnel(site.user)
    with reached_through(site, account, loop) as relay:
        with at_terminal(site, "up", "--detach", "--local-port", str(free_port())) as terminal:
            for _ in range(2):
                type_code(terminal, account, relay, codes)
            assert terminal.end() == 0, terminal.said
        before = tunnel.record()
        connections = site.gateway.connections()
        relay.cut()
        tunnel.wait_until(lambda: tunnel.record()["waits_for_you"], "the tunnel waits for its user")
        wait_until(since(time.monotonic(), QUIET_S), OUTAGE_PATIENCE_S, "nothing happens")
        assert site.gateway.connections() == connections
        waits(tunnel)
        assert "Failed keyboard-interactive" not in site.gateway.log.read_text()
        with site.user.at_terminal("fab", "tunnel", "--detach") as terminal:
            type_code(terminal, account, relay, codes)
            terminal.expect(rf"https://localhost:{before['local_port']}/")
            assert terminal.end() == 0, terminal.said
        again(tunnel, before["local_port"])
        wait_until(lambda: not psutil.pid_exists(before["pid"]), OUTAGE_PATIENCE_S, "the old one has ended")
        with site.user.at_terminal("fab", "stop") as terminal:
            type_code(terminal, account, relay, codes)
            assert terminal.end() == 0, terminal.said


def test_a_code_at_the_terminal(site: Site, codes: Codes, loop: Loop) -> None:
    """In the foreground the tunnel says that it waits, asks once its user is back, and goes on at the same port."""
    account = wanting(site, codes, "publickey,keyboard-interactive", CODE)
    tunnel = Tunnel(site.user)
    with reached_through(site, account, loop) as relay:
        steps = ("secure", "--password-file", site.password_file(), "serve")
        with site.user.at_terminal("fab", *steps) as terminal:
            type_code(terminal, account, relay, codes)
            assert terminal.end() == 0, terminal.said
        with site.user.at_terminal("fab", "tunnel", "--local-port", str(free_port())) as terminal:
            type_code(terminal, account, relay, codes)
            terminal.expect("ctrl-c closes the tunnel")
            before = tunnel.record()
            connections = site.gateway.connections()
            relay.cut()
            terminal.expect("waits for you: ")
            terminal.expect("press enter to log in to .* again: ?")
            wait_until(since(time.monotonic(), QUIET_S), OUTAGE_PATIENCE_S, "nothing happens")
            assert site.gateway.connections() == connections
            terminal.type("")
            type_code(terminal, account, relay, codes)
            terminal.expect(r"reconnected after [\d.]+ s")
            again(tunnel, before["local_port"])
            assert tunnel.record()["pid"] == before["pid"]
            relay.cut()
            terminal.expect("press enter to log in to .* again: ?")
            terminal.interrupt()
            assert terminal.end() == 0, terminal.said
            assert "Traceback" not in terminal.said
        with site.user.at_terminal("fab", "stop") as terminal:
            type_code(terminal, account, relay, codes)
            assert terminal.end() == 0, terminal.said


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_password(site: Site, loop: Loop, method: str) -> None:
    """A password that a person gave is good for coming back. Once it was refused it is offered to nobody any more."""
    account = site.account()
    start(site, account, method)
    tunnel = Tunnel(site.user)
    password = account.password
    with reached_through(site, account, loop, connect_kwargs={}) as relay:
        host = rf"{account.name}@{site.host.address}:{site.host.port} password: "

        def log_in(terminal: Terminal, at_the_gateway: str) -> None:
            terminal.expect(f"{at_gateway(account, relay)} password: ")
            terminal.type(at_the_gateway)
            terminal.expect(host)
            terminal.type(password)
            assert terminal.end() == 0, terminal.said

        with at_terminal(site, "up", "--detach", "--local-port", str(free_port())) as terminal:
            log_in(terminal, password)
        before = tunnel.record()
        told = len(site.at_gateway.told())
        relay.cut()
        tunnel.wait_until_noticed(1)
        assert site.at_gateway.told()[told:] == [password]

        _change_password(site, account, NEW_PASSWORD)
        relay.cut()
        tunnel.wait_until(lambda: tunnel.record()["waits_for_you"], "the tunnel waits for its user")
        connections = site.gateway.connections()
        wait_until(since(time.monotonic(), QUIET_S), OUTAGE_PATIENCE_S, "nothing happens")
        assert site.at_gateway.told()[told:] == [password, password]
        assert site.gateway.connections() == connections
        waits(tunnel)
        assert site.at_gateway.told()[told:] == [password, password]
        with site.user.at_terminal("fab", "tunnel", "--detach") as terminal:
            log_in(terminal, NEW_PASSWORD)
        again(tunnel, before["local_port"])
        assert site.at_gateway.told()[told + 2 :] == [NEW_PASSWORD]
        assert WRONG not in site.at_gateway.told()
        with site.user.at_terminal("fab", "stop") as terminal:
            log_in(terminal, NEW_PASSWORD)


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_the_password_of_a_later_hop(site: Site, loop: Loop, method: str) -> None:
    """A gateway that takes no key any more gets no password of the host's, though password_for_next_hop is set: nobody is there."""
    account = site.account()
    takes = ("PasswordAuthentication yes", "KbdInteractiveAuthentication yes")
    site.options["gateway"] = (f"AuthenticationMethods publickey {method}", *takes)
    site.options["host"] = ("AuthenticationMethods password", *takes)
    site.start()
    tunnel = Tunnel(site.user)
    notebook = {"host": site.host_place}
    with reached_through(
        site, account, loop, ssh={"password_for_next_hop": True}, notebook=notebook
    ) as relay:
        host = f"{account.name}@{site.host.address}:{site.host.port} password: "
        with at_terminal(site, "up", "--detach", "--local-port", str(free_port())) as terminal:
            terminal.expect(host)
            terminal.type(account.password)
            assert terminal.end() == 0, terminal.said
        assert site.at_gateway.told() == []
        keys = site.authorized.read_bytes()
        site.authorized.write_bytes(b"")
        relay.cut()
        waits(tunnel)
        assert site.at_gateway.told() == []
        site.authorized.write_bytes(keys)
        with site.user.at_terminal("fab", "stop") as terminal:
            terminal.expect(host)
            terminal.type(account.password)
            assert terminal.end() == 0, terminal.said


def _change_password(site: Site, account: Account, password: str) -> None:
    """Let the gateway know the account by another password from now on."""
    shadow = site.at_gateway.folder / "shadow"
    lines = [
        f"{account.name}:{machines._hashed(password)}:20000::::::"
        if line.startswith(f"{account.name}:")
        else line
        for line in shadow.read_text().splitlines()
    ]
    # The same file, as another one would not be seen where this one is mounted.
    shadow.write_text("\n".join(lines) + "\n")


def test_another_host_key(way: Way) -> None:
    """A gateway that comes back with another key is not talked to, and the tunnel says so; when the right key is back, so
    is the tunnel by itself.
    """
    gateway = way.network.gateway
    kept = way.network.folder / "kept"
    kept.mkdir()
    with working(way, MB) as work:
        known = way.network.known_hosts.read_bytes()
        for file in (gateway.key, gateway.key.with_suffix(".pub")):
            shutil.copy2(file, kept)
        logins = gateway.logins()
        gateway.new_key()
        waits(way)
        assert "key" in way.record()["waits_for_you"]
        connections = gateway.connections()
        way.wait_until(lambda: gateway.connections() > connections + 1, "it is tried again")
        assert gateway.logins() == logins
        assert way.network.known_hosts.read_bytes() == known
        gateway.stop()
        for file in kept.iterdir():
            shutil.copy2(file, gateway.folder)
        gateway.start()
        way.wait_for("open")
        again(way, work.before["local_port"])
        assert way.record()["pid"] == work.pid
        assert way.log().count("waits for you") == 1
        assert way.network.known_hosts.read_bytes() == known
        work.goes_on()


def test_the_server_has_gone(way: Way) -> None:
    """Where Jupyter has ended, a tunnel in the foreground says so and what to do, and goes on with the next server."""
    user = way.user
    with working(way, MB) as work:
        port = work.before["local_port"]
        psutil.Process(way.record()["pid"]).terminate()
        wait_until(lambda: not way.record(), OUTAGE_PATIENCE_S, "the first tunnel has ended")
        with user.at_terminal("fab", "tunnel", "--local-port", str(port)) as terminal:
            terminal.expect("ctrl-c closes the tunnel")
            psutil.Process(work.before["pid"]).kill()
            terminal.expect("has ended; new connections wait, `serve` starts a server")
            succeeded(user.fab("serve"))
            terminal.expect("leads to the new server at ")
            again(way, port)
            terminal.interrupt()
            assert terminal.end() == 0, terminal.said
        assert user.only_session()["tunnel"] == "closed"


def test_one_line_an_outage(way: Way) -> None:
    """At a terminal an outage is one line, however many attempts fail; Ctrl-C ends it, and the terminal is as before."""
    user = way.user
    with working(way, MB) as work:
        port = work.before["local_port"]
        psutil.Process(work.pid).terminate()
        wait_until(lambda: not way.record(), OUTAGE_PATIENCE_S, "the first tunnel has ended")
        with user.at_terminal("fab", "tunnel", "--local-port", str(port)) as terminal:
            before = termios.tcgetattr(terminal._descriptor)
            terminal.expect("ctrl-c closes the tunnel")
            for _ in range(2):
                _outage(way, terminal, attempts=3)
                with Visit(work.window) as visit:
                    way.first.admit()
                    terminal.expect(r"reconnected after [\d.]+ s")
                assert visit.status == 200
            _outage(way, terminal, attempts=1)
            terminal.interrupt()
            assert terminal.end() == 0, terminal.said
            assert termios.tcgetattr(terminal._descriptor) == before
            assert terminal.said.count("reconnecting") == 3, terminal.said
            assert terminal.said.count("reconnected") == 2, terminal.said
            assert "Traceback" not in terminal.said
            assert terminal.said.rstrip(" ").endswith("\n")
        assert user.only_session()["tunnel"] == "closed"
        way.first.admit()
        succeeded(user.fab("tunnel", "--detach", "--local-port", str(port)))
        with Window(port, user.certificate_pem(LOOPBACK)) as window:
            assert window.log_in(PASSWORD)


def _outage(way: Way, terminal: Terminal, attempts: int) -> None:
    """Bar the way until so many attempts have failed."""
    before = way.first.turned_away
    way.first.bar()
    terminal.expect("reconnecting, the address stays")
    wait_until(
        lambda: way.first.turned_away >= before + attempts, OUTAGE_PATIENCE_S, f"{attempts} attempts fail"
    )
