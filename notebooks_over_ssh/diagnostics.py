"""The checks behind `doctor`, from this machine to a working kernel."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from notebooks_over_ssh.config.settings import Destination, Settings
from notebooks_over_ssh.config.sources import unread_settings
from notebooks_over_ssh.errors import RemoteError, UserError
from notebooks_over_ssh.jupyter import certificate, security, server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.clock import check_dates
from notebooks_over_ssh.jupyter.connecting import SANDBOX, is_without_machine, make_target, sandbox_gateway
from notebooks_over_ssh.jupyter.host_info import HostInfo, KernelInfo
from notebooks_over_ssh.jupyter.remote_result import RemoteProblem, decode, run_in_environment, to_exception
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.jupyter.verification import check_websocket
from notebooks_over_ssh.launchers import DEFAULT_LAUNCHER, LAUNCHERS, SCHEDULERS, cluster_checks
from notebooks_over_ssh.launchers.base import Cluster, JobState, LauncherName
from notebooks_over_ssh.ssh import connections as ssh
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.first_hop import read_banner, resolve_name
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.ssh.queries import run_query
from notebooks_over_ssh.ssh.remote import list_environments, run_program
from notebooks_over_ssh.tunnel import Forwarder
from notebooks_over_ssh.tunnel.port_access import verify_over
from notebooks_over_ssh.tunnel.relay import forwarding_refusal, use_relay
from notebooks_over_ssh.util.command_hint import command

TIMEOUT_S = 60
MIN_FREE_BYTES = 100 * 1024 * 1024
# As in Kerberos (RFC 4120, section 8.2). Certificates, builds and time stamps of files tolerate more.
CLOCK_TOLERANCE = 300.0  # seconds


@dataclass(frozen=True)
class CheckResult:
    """The result of one check, or the UserError that it raised."""

    name: str
    result: str
    problem: UserError | None = None


def run_checks(settings: Settings, credentials: CredentialPrompter) -> Iterator[CheckResult]:
    """Run the checks in order; stop after the first that fails."""
    checks = _Checks(settings, credentials)
    for name, check in checks.all_checks():
        try:
            yield CheckResult(name, check())
        except UserError as error:
            yield CheckResult(name, "", error)
            return


class _Checks:
    def __init__(self, settings: Settings, credentials: CredentialPrompter) -> None:
        self.settings = settings
        self.credentials = credentials
        self.session = sessions.find(settings)
        self.hops: tuple[Connection, ...] = ()
        self.host: HostInfo | None = None
        self.job: JobState | None = None
        self.node: Connection | None = None
        self.cluster: Cluster

    def all_checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "settings", self._settings
        if self.settings.gateway == SANDBOX:
            yield "sandbox", self._sandbox
        machine = self.session.login_machine if self.session else None
        target = make_target(self.settings, self._destination(), machine)
        self.hops = ssh.resolve_hops(self.settings, target, self.credentials)
        if not self.hops[0].command:
            yield "name", self._name
            yield "port", self._port
        gateways = () if self.hops[-1].has_master else self.hops[:-1]
        for hop in gateways:
            yield "gateway", partial(self._login, hop)
        if gateways:
            yield "forwarding", self._forwarding
        yield "host", partial(self._login, self.hops[-1])
        if self._launcher != DEFAULT_LAUNCHER:
            yield "scheduler", self._scheduler
            job = self.settings.notebook.job
            yield "partitions", lambda: cluster_checks.check_partitions(self.cluster, job)
            yield "account", lambda: cluster_checks.check_account(self.cluster, job)
            if self.session and not is_without_machine(self.job):
                yield "node", self._node
            elif not self.session:
                yield "job", self._job
        yield "shell", self._shell
        yield "clock", self._clock
        yield "space", self._space
        yield "directory", self._directory
        yield "loopback", self._loopback
        yield "environments", self._environments
        yield "jupyter", self._jupyter
        yield "certificate", self._certificate
        yield "kernel", self._kernel
        if isinstance(self.session, Session) and not is_without_machine(self.job):
            yield "server", self._server
            yield "websocket", self._websocket

    def _destination(self) -> Destination:
        return self.session.destination if self.session else self.settings.destination()

    @property
    def _connection(self) -> Connection:
        return self.node or self.hops[-1]

    @property
    def _location(self) -> str:
        """Where the environment is checked, if that is not the host itself."""
        if self._launcher == DEFAULT_LAUNCHER:
            return ""
        return f", on {self.node.label}" if self.node else ", on the login node: no job is running"

    @property
    def _launcher(self) -> LauncherName:
        return sessions.with_launcher(self.settings, self.session).notebook.launcher or DEFAULT_LAUNCHER

    def _settings(self) -> str:
        route = f"through {self.settings.gateway}" if self.settings.gateway else "without a gateway"
        unread = unread_settings()
        note = f" (without effect: {unread})" if unread else ""
        return f"{self._destination()} {route}{note}"

    def _sandbox(self) -> str:
        gateway = sandbox_gateway()
        return f"running, gateway on {gateway.config.host}:{gateway.config.port}"

    def _name(self) -> str:
        first = self.hops[0]
        return f"{first.host} has the address {', '.join(resolve_name(first.host, first.port))}"

    def _port(self) -> str:
        hop = self.hops[0]
        return read_banner(hop.host, hop.port, hop.label, hop.timeout_s)

    def _login(self, hop: Connection) -> str:
        if not (has_master := hop.has_master) or hop is self.hops[-1]:
            hop.open()
        if has_master:
            return f"the login as {hop.user} on {hop.label} is that of ssh's master connection"
        ticket = f", with {hop.login.ticket.description}" if hop.login.ticket else ""
        return f"{hop.label} presented a known host key and accepted the login as {hop.user}{ticket}"

    def _forwarding(self) -> str:
        self.hops[-1].open_socket().close()
        return f"{self.hops[-2].label} forwards to {self.hops[-1].label}"

    def _scheduler(self) -> str:
        """Ask the scheduler for what it offers, and for the session's job."""
        login, scheduler = self.hops[-1], SCHEDULERS[self._launcher]
        self.cluster = scheduler.cluster(login)
        if self.session:
            self.job = run_query(login, partial(scheduler.state, login, self.session.job))
        if self.job is None:
            return f"{self.cluster.description} answers; {command('serve')} submits a job"
        separator = ": " if self.job.phase == "queued" else " "
        return f"{self.cluster.description} answers; {self.job.label}{separator}{self.job.description}"

    def _job(self) -> str:
        return SCHEDULERS[self._launcher].estimate_start(self.hops[-1], self.settings.notebook.job)

    def _node(self) -> str:
        assert self.job is not None
        self.node, ways = LAUNCHERS[self._launcher].examine(self.hops[-1], self.job.job, self.settings)
        return ways

    def _shell(self) -> str:
        parameters = {"directory": self.settings.notebook.directory}
        sent_at = time.time()
        reply = run_program(self._connection, "host_info", parameters, timeout_s=TIMEOUT_S)
        if reply["problem"]:
            raise to_exception(decode(reply, RemoteProblem), self.settings, self._connection.label)
        self.host = decode(reply, HostInfo)
        self.query_interval = sent_at, time.time()
        return f"{self.host.host} runs programs, with {self.host.shell or 'an unknown shell'} as login shell"

    def _clock(self) -> str:
        """Compare the clocks. The host read its own between request and reply, so this is the minimum difference."""
        assert self.host is not None
        earliest, latest = self.query_interval
        difference = max(self.host.time - latest, 0.0) or min(self.host.time - earliest, 0.0)
        if abs(difference) > CLOCK_TOLERANCE:
            direction = "ahead of" if difference > 0 else "behind"
            raise RemoteError(
                f"the clock of {self.host.host} is {abs(difference):.0f} s {direction} this machine's",
                hint="correct the wrong clock: the certificate's dates are checked by it",
            )
        return (
            f"{self.host.host} and this machine agree within {max(abs(difference), latest - earliest):.1f} s"
        )

    def _space(self) -> str:
        assert self.host is not None
        free = f"{self.host.free_bytes / 1e9:.1f} GB free in the home folder"
        if self.host.free_bytes < MIN_FREE_BYTES:
            raise RemoteError(f"only {free}", hint="free some disk space there")
        return f"{free}; load {self.host.load:.1f} on {self.host.processors} processors"

    def _directory(self) -> str:
        assert self.host is not None
        if self.host.directory_problem:
            raise to_exception(self.host.directory_problem, self.settings, self._connection.label)
        if self.host.directory_write_problem:
            raise RemoteError(
                f"no file can be saved in {self.host.directory} on {self._connection.label}:"
                f" {self.host.directory_write_problem}",
                hint="set notebook.directory to a folder in which you may write",
            )
        return self.host.directory

    def _loopback(self) -> str:
        """Check that the host forwards to its own ports: the server's, or the first that one would try."""
        source = self.session if isinstance(self.session, Session) else self.settings.notebook
        port = source.remote_port
        label = self._connection.label
        refusal = forwarding_refusal(self._connection, port)
        if not refusal:
            return f"{label} forwards to its own ports"
        use_relay(self._connection, refusal)
        return f"{label} forbids forwarding ({refusal}): a program there relays the connections"

    def _environments(self) -> str:
        """List what notebook.environment may be set to. The next check reports a missing one."""
        reply = list_environments(self._connection, self.settings.notebook.directory, timeout_s=TIMEOUT_S)
        listing = decode(reply, RemoteProblem).truncated()
        modules = f"modules of {listing.reason}" if listing.reason else "no modules"
        return f"{', '.join(listing.alternatives) or 'none found'}; {modules}{self._location}"

    def _jupyter(self) -> str:
        self.security = security.get_status(self._connection, self.settings)
        notebook = self.settings.notebook
        environment = notebook.activate or notebook.environment
        return f"jupyter {notebook.application} {self.security.version} in {environment}{self._location}"

    def _certificate(self) -> str:
        status = self.security
        for what, problem in (
            ("password", status.password_problem),
            ("certificate", status.certificate_problem or certificate.find_problem(status.certificate_pem)),
        ):
            if problem:
                raise RemoteError(
                    f"the server is not protected ({what}: {problem})",
                    hint=f"{command('secure')} sets it",
                )
        for exposure in status.exposed:
            raise RemoteError(
                f"other accounts of the host can change or read {exposure.path}",
                hint=f"{command('secure')} removes their access",
            )
        for setting in status.insecure_settings:
            raise RemoteError(
                f"{setting.path} sets {setting.name}, which undoes the protection",
                hint=f"{command('secure')} disables it if the file is yours; otherwise ask its owner",
            )
        cert = certificate.parse(status.certificate_pem)
        check_dates(cert, status.host, status.time - time.time())
        if cert.expires_within(self.settings.notebook.renew_days):
            raise RemoteError(
                f"the certificate expires on {cert.expires:%Y-%m-%d}", hint=f"{command('secure')} renews it"
            )
        return f"password set, certificate valid until {cert.expires:%Y-%m-%d}"

    def _kernel(self) -> str:
        parameters = {"timeout_s": TIMEOUT_S}
        reply = run_in_environment(
            self._connection, self.settings, "kernel_smoke_test", parameters, timeout_s=3 * TIMEOUT_S
        )
        return f"a {decode(reply, KernelInfo).kernel} kernel computed 1+1{self._location}"

    def _server(self) -> str:
        assert isinstance(self.session, Session)
        state = server.get_state(self._connection)
        if not state.running:
            raise RemoteError(
                f"the server on {self.session.host} has ended",
                hint=f"{command('serve')} starts it again",
            )
        return f"running on {self.session.host}, port {self.session.remote_port} (process {state.pid})"

    def _websocket(self) -> str:
        assert isinstance(self.session, Session)
        with closing(Forwarder(())) as forwarder:
            _, clock_offset_s = verify_over(self.session, self._connection, forwarder, TIMEOUT_S)
            check_dates(certificate.parse(self.session.certificate_pem), self.session.host, clock_offset_s)
            dial = partial(
                forwarder.open_connection, self._connection.port_transport, self.session.remote_port
            )
            check_websocket(self.session, dial, TIMEOUT_S)
        return "through a tunnel, the server presents its certificate and answers a WebSocket request"
