"""What a server depends on, looked at link by link, from here to a working kernel."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import CannotConnect, Problem, RemoteFailed
from notebooks_over_ssh.jupyter import certificate, server
from notebooks_over_ssh.jupyter import security as protection
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.clock import check_dates
from notebooks_over_ssh.jupyter.connecting import SANDBOX, destination, sandbox_gateway
from notebooks_over_ssh.jupyter.remote_result import Obstacle, ask_in_environment, checked, explained
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.jupyter.verification import prove_websocket
from notebooks_over_ssh.ssh import connection as ssh
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.ssh.remote import run_program
from notebooks_over_ssh.tunnel import Forwarder
from notebooks_over_ssh.tunnel.port_access import prove_through
from notebooks_over_ssh.tunnel.relay import forwarding_refusal, go_through_a_program
from notebooks_over_ssh.util.command_hint import command

if TYPE_CHECKING:
    from notebooks_over_ssh.ssh.connection import Connection

PATIENCE_S = 60
LEAST_FREE_BYTES = 100 * 1024 * 1024
# What Kerberos allows (RFC 4120, section 8.2), and less than certificates, builds and time stamps of files bear.
CLOCK_TOLERANCE = 300.0  # seconds


@dataclass(frozen=True)
class Link:
    """One link of the chain: what it came to, or the Problem that breaks the chain there."""

    name: str
    result: str
    problem: Problem | None = None


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What examine_host.py tells."""

    host: str
    shell: str
    time: float
    """Of the host's clock, in seconds since the epoch."""
    free_bytes: int
    directory: str
    directory_obstacle: Obstacle | None
    directory_write_trouble: str
    """Why no file can be made in it, "" where one can."""
    load: float
    processors: int


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """What try_kernel.py tells."""

    kernel: str


def examine(settings: Settings, asking: Asking) -> Iterator[Link]:
    """Try every link in order, and end with the one that is broken, if one is."""
    chain = _Chain(settings, asking)
    for name, look in chain.links():
        try:
            yield Link(name, look())
        except Problem as problem:
            yield Link(name, "", problem)
            return


class _Chain:
    def __init__(self, settings: Settings, asking: Asking) -> None:
        self.settings = settings
        self.asking = asking
        self.session = sessions.find(settings)
        self.hops: tuple[Connection, ...] = ()
        self.host: Host | None = None

    def links(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "settings", self._settings
        if self.settings.gateway == SANDBOX:
            yield "sandbox", self._sandbox
        machine = self.session.machine if self.session else None
        there = destination(self.settings, self._place(), machine)
        self.hops = ssh.hops_to(self.settings, there, self.asking)
        if not self.hops[0].command:
            yield "name", self._name
            yield "port", self._port
        for hop in self.hops[:-1]:
            yield "gateway", lambda hop=hop: self._login(hop)  # type: ignore[misc] # each its own hop
        if len(self.hops) > 1:
            yield "forwarding", self._forwarding
        yield "host", self._host
        yield "shell", self._shell
        yield "clock", self._clock
        yield "space", self._space
        yield "directory", self._directory
        yield "loopback", self._loopback
        yield "jupyter", self._jupyter
        yield "certificate", self._certificate
        yield "kernel", self._kernel
        if isinstance(self.session, Session):
            yield "server", self._server
            yield "websocket", self._websocket

    def _place(self) -> ssh.Place:
        return self.session.place if self.session else self.settings.place()

    @property
    def _connection(self) -> "Connection":
        return self.hops[-1]

    def _settings(self) -> str:
        way = f"through {self.settings.gateway}" if self.settings.gateway else "without a gateway"
        return f"{self._place()} {way}"

    def _sandbox(self) -> str:
        gateway = sandbox_gateway()
        return f"runs, its gateway on {gateway.config.host}:{gateway.config.port}"

    def _name(self) -> str:
        first = self.hops[0]
        try:
            found = socket.getaddrinfo(first.host, first.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise CannotConnect(
                f"there is no host called {first.host}: {error}",
                hint="check the name, and whether you are online",
            ) from error
        return f"{first.host} is {', '.join(dict.fromkeys(str(entry[4][0]) for entry in found))}"

    def _port(self) -> str:
        first = self.hops[0]
        try:
            with socket.create_connection((first.host, first.port), timeout=first.timeout_s) as reached:
                banner = reached.recv(255)
        except OSError as error:
            raise CannotConnect(
                f"port {first.port} of {first.label} does not answer: {error}",
                hint="check the port, and whether your site wants its VPN",
            ) from error
        if not banner.startswith(b"SSH-"):
            raise CannotConnect(
                f"what answers on port {first.port} of {first.label} is not SSH",
                hint="check the port in invoke.yaml",
            )
        return banner.splitlines()[0].decode("ascii", "replace")

    def _login(self, hop: "Connection") -> str:
        hop.open()
        return f"{hop.label} showed a known key, and let {hop.user} in"

    def _forwarding(self) -> str:
        self.hops[-1].reach().close()
        return f"{self.hops[-2].label} leads to {self.hops[-1].label}"

    def _host(self) -> str:
        return self._login(self.hops[-1])

    def _shell(self) -> str:
        parameters = {"directory": self.settings.notebook.directory}
        asked_at = time.time()
        answer = run_program(self._connection, "host_info", parameters, timeout_s=PATIENCE_S)
        if answer["problem"]:
            raise explained(checked(answer, Obstacle), self.settings, self._connection.label)
        self.host = checked(answer, Host)
        self.asked_between = asked_at, time.time()
        return f"{self.host.host} runs programs, with {self.host.shell or 'an unknown shell'} as login shell"

    def _clock(self) -> str:
        """The least that the clocks differ by: the host read its own between the question and the answer."""
        assert self.host is not None
        earliest, latest = self.asked_between
        difference = max(self.host.time - latest, 0.0) or min(self.host.time - earliest, 0.0)
        if abs(difference) > CLOCK_TOLERANCE:
            way = "ahead of" if difference > 0 else "behind"
            raise RemoteFailed(
                f"the clock of {self.host.host} is {abs(difference):.0f} s {way} this machine's",
                hint="set the wrong one of the two: a certificate counts by the clock",
            )
        return f"{self.host.host} and this machine agree to {max(abs(difference), latest - earliest):.1f} s"

    def _space(self) -> str:
        assert self.host is not None
        free = f"{self.host.free_bytes / 1e9:.1f} GB free in the home folder"
        if self.host.free_bytes < LEAST_FREE_BYTES:
            raise RemoteFailed(f"only {free}", hint="make room there")
        return f"{free}; load {self.host.load:.1f} on {self.host.processors} processors"

    def _directory(self) -> str:
        assert self.host is not None
        if self.host.directory_obstacle:
            raise explained(self.host.directory_obstacle, self.settings, self._connection.label)
        if self.host.directory_write_trouble:
            raise RemoteFailed(
                f"no file can be saved in {self.host.directory} on {self._connection.label}:"
                f" {self.host.directory_write_trouble}",
                hint="set notebook.directory to a folder in which you may write",
            )
        return self.host.directory

    def _loopback(self) -> str:
        """Whether the host forwards to its own ports; without a server, to the port that one would take first."""
        known = self.session if isinstance(self.session, Session) else self.settings.notebook
        port = known.remote_port
        label = self._connection.label
        refusal = forwarding_refusal(self._connection, port)
        if not refusal:
            return f"{label} forwards to its own ports"
        go_through_a_program(self._connection, refusal)
        return f"{label} forbids forwarding ({refusal}): a program there carries the connections"

    def _jupyter(self) -> str:
        self.protection = protection.look(self._connection, self.settings)
        wanted = self.settings.notebook
        return f"jupyter {wanted.application} {self.protection.version} in {wanted.activate or wanted.environment}"

    def _certificate(self) -> str:
        found = self.protection
        for what, trouble in (
            ("password", found.password_trouble),
            ("certificate", found.certificate_trouble or certificate.weakness(found.certificate_pem)),
        ):
            if trouble:
                raise RemoteFailed(
                    f"the server has no protection yet ({what}: {trouble})",
                    hint=f"{command('secure')} sets it",
                )
        for exposure in found.exposed:
            raise RemoteFailed(
                f"other accounts of the host can change or read {exposure.path}",
                hint=f"{command('secure')} closes it to them",
            )
        for setting in found.contradictions:
            raise RemoteFailed(
                f"{setting.path} sets {setting.name}, which undoes the protection",
                hint=f"{command('secure')} sets it aside where the file is yours; else ask who keeps it",
            )
        shown = certificate.parse(found.certificate_pem)
        check_dates(shown, found.host, found.time - time.time())
        if shown.ends_within(self.settings.notebook.renew_days):
            raise RemoteFailed(
                f"the certificate ends on {shown.expires:%Y-%m-%d}", hint=f"{command('secure')} renews it"
            )
        return f"password set, certificate good until {shown.expires:%Y-%m-%d}"

    def _kernel(self) -> str:
        parameters = {"timeout_s": PATIENCE_S}
        answer = ask_in_environment(
            self._connection, self.settings, "kernel_smoke_test", parameters, timeout_s=3 * PATIENCE_S
        )
        return f"a {checked(answer, Kernel).kernel} kernel computed 1+1"

    def _server(self) -> str:
        assert isinstance(self.session, Session)
        state = server.state(self._connection)
        if not state.running:
            raise RemoteFailed(
                f"the server on {self.session.host} has ended", hint=f"{command('serve')} starts it again"
            )
        return f"runs on {self.session.host}, port {self.session.remote_port} (process {state.pid})"

    def _websocket(self) -> str:
        assert isinstance(self.session, Session)
        with closing(Forwarder(())) as forwarder:
            _, ahead = prove_through(self.session, self._connection, forwarder, PATIENCE_S)
            check_dates(certificate.parse(self.session.certificate_pem), self.session.host, ahead)
            dial = partial(forwarder.connect, self._connection.port_transport, self.session.remote_port)
            prove_websocket(self.session, dial, PATIENCE_S)
        return "the server proves itself through a tunnel, and answers a websocket"
