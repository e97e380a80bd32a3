"""What each command would do, for `--dry`.

A plan reads the records on this machine and ~/.ssh/config, through `ssh -G`. It connects to no host, starts nothing and
writes nothing, so it does not know what only a host knows, such as whether the password there is still valid.
"""

import msgspec

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.config.destination import Destination
from notebooks_over_ssh.config.job import sbatch_options
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.jupyter import certificate
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import SANDBOX, make_target
from notebooks_over_ssh.jupyter.session import AnySession, Session
from notebooks_over_ssh.ssh.jump_chain import resolve_route
from notebooks_over_ssh.ssh.mux.login_sockets import held_logins
from notebooks_over_ssh.ssh.prompting import account
from notebooks_over_ssh.tasks.logs import parse_lines
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.tasks.secure import SecureOptions
from notebooks_over_ssh.tasks.tunnel import find_awaited, require_session
from notebooks_over_ssh.terminal import print_detail, print_step


def secure(run: Run, options: SecureOptions) -> None:
    """Print what `secure` would do. Raises a UserError."""
    host = _connect(run.settings)
    _secure(host, run.settings, options)


def serve(run: Run) -> None:
    """Print what `serve` would do. Raises a UserError."""
    host = _connect(run.settings)
    _serve(host, run.settings)


def tunnel(run: Run, *, detach: bool) -> None:
    """Print what `tunnel` would do. Raises a UserError."""
    if detach and (pending := find_awaited(run.settings)):
        _print_route(pending.destination, run.settings, pending)
        assert pending.job  # for mypy: there is one
        return print_step(
            "tunnel", f"would wait for job {pending.job.id} in the background, then forward to it"
        )
    session = require_session(run.settings)
    _start_sandbox(session.gateway)
    _print_route(session.destination, run.settings, session)
    _tunnel(session.host, f"port {session.remote_port}", run.settings, session, detach=detach)


def up(run: Run, options: SecureOptions, *, detach: bool) -> None:
    """Print what `up` would do. Raises a UserError."""
    host = _connect(run.settings)
    _secure(host, run.settings, options)
    _serve(host, run.settings)
    session = sessions.find(run.settings)
    recorded_session = session if isinstance(session, Session) else None
    _tunnel(
        host,
        f"port {recorded_session.remote_port}" if recorded_session else "the server's port",
        run.settings,
        recorded_session,
        detach=detach,
    )
    if not detach:
        endings = {
            "ask": "ask whether to stop the server",
            "stop": "stop the server",
            "keep": "keep the server",
        }
        print_detail(f"ctrl-c would close the tunnel and {endings[run.settings.notebook.on_exit]}")


def trust(session: Session) -> None:
    """Print what `trust` would do. Raises RemoteError if the certificate on record is damaged."""
    cert = certificate.parse(session.certificate_pem)
    if cert.issuer:
        return print_step(
            "trust", f"nothing to do: the certificate is signed by an authority ({cert.issuer})"
        )
    print_step("trust", f"would add the certificate of {session.host} to your browsers' trust stores")
    print_detail(f"certificate SHA-256: {cert.sha256}")


def untrust(settings: Settings) -> None:
    """Print what `untrust` would do. Raises ConfigError if several sessions match."""
    session = sessions.find(settings)
    if isinstance(session, Session):
        print_step(
            "untrust", f"would remove the certificate of {session.host} from your browsers' trust stores"
        )
        print_detail(f"certificate SHA-256: {certificate.parse(session.certificate_pem).sha256}")
    print_step("untrust", "would remove the certificates of sessions that have ended, if any")


def stop(run: Run) -> None:
    """Print what `stop` would do. Raises a UserError."""
    session = sessions.find_any_gateway(run.settings)
    if session is not None:
        return _stop(session, run.settings)
    if run.settings.explicit_host is None:
        return print_step("stop", "no session matches these settings")
    destination = run.settings.destination()
    _print_route(destination, run.settings)
    print_step("stop", f"would stop your server on {destination.host}, if one is running")


def stop_all(run: Run) -> None:
    """Print what `stop --all` would do. Raises a UserError."""
    records = sessions.list_records()
    if not records:
        print_step("stop", "no session, nothing to stop")
    for session in records:
        _stop(session, run.settings)


def logs(run: Run, lines: str) -> None:
    """Print what `logs` would do. Raises a UserError."""
    number = parse_lines(lines)
    destination, session = _find_destination(run.settings)
    _print_route(destination, run.settings, session)
    print_step("logs", f"would print the last {number} lines of the server's log")


def login(run: Run) -> None:
    """Print what `login` would do. Raises a UserError."""
    host = _connect(run.settings)
    print_step("login", f"would log in to {host}, and keep the login in the background")


def logout() -> None:
    """Print what `logout` would do."""
    logins = held_logins()
    for held_login in logins:
        print_step("logout", f"would end the login on {' and '.join(held_login.hops)}, if it is on the route")
    if not logins:
        print_step("logout", "no login is held")


def doctor(run: Run) -> None:
    """Print what `doctor` would do. Raises a UserError."""
    destination, session = _find_destination(run.settings)
    _print_route(destination, run.settings, session)
    print_step(
        "doctor", "would check each hop, the host, its Jupyter and a kernel, which it starts and stops"
    )


def partitions(run: Run) -> None:
    """Print what `clusters.partitions` would do. Raises a UserError."""
    destination, session = _find_destination(run.settings)
    _print_route(destination, run.settings, session)
    print_step("partitions", "would ask the scheduler for its partitions")


def start_sandbox() -> None:
    """Print what `sandbox.start` would do. Raises TaskError."""
    network = sandbox.find_running()
    if network is not None:
        return print_step("sandbox", f"is running already (process {network.pid})")
    _start_sandbox(SANDBOX)


def stop_sandbox() -> None:
    """Print what `sandbox.stop` would do. Raises TaskError."""
    network = sandbox.find_running()
    for session in sessions.list_records():
        if session.gateway == SANDBOX:
            print_step("sandbox", f"would remove the session on {session.host}")
            _close_tunnel("sandbox", session)
    if network is None and not sandbox.has_processes():
        return print_step("sandbox", "is not running: would delete its files, if there are any")
    process = f" (process {network.pid}) and delete {network.home}" if network else " and delete its files"
    print_step("sandbox", f"would stop the gateway and the hosts{process}")


def _connect(settings: Settings) -> str:
    """Print the sandbox's start and the route; returns the host's name for the next steps."""
    destination, session = _find_destination(settings)
    _start_sandbox(session.gateway if session else settings.gateway)
    _print_route(destination, settings, session)
    return session.host if session else destination.host


def _find_destination(settings: Settings) -> tuple[Destination, AnySession | None]:
    session = sessions.find(settings)
    return (session.destination if session else settings.destination()), session


def _start_sandbox(gateway: str | None) -> None:
    if gateway == SANDBOX and sandbox.find_running() is None:
        print_step("sandbox", "would start a gateway and three compute hosts on this machine")


def _print_route(destination: Destination, settings: Settings, session: AnySession | None = None) -> None:
    gateway = session.gateway if session else settings.gateway
    if gateway == SANDBOX and sandbox.find_running() is None:
        return print_step("connect", f"would connect to {destination} through the sandbox")
    settings = msgspec.structs.replace(settings, gateway=gateway)
    route = resolve_route(make_target(settings, destination), settings)
    hops = ", then ".join(account(hop.config.user, hop.label, hop.config.port) for hop in route.hops)
    by_command = ", the first by its ProxyCommand" if route.proxy_command else ""
    print_step("connect", f"would log in to {hops}{by_command}")


def _secure(host: str, settings: Settings, options: SecureOptions) -> None:
    if options.renew:
        print_step("secure", f"would set a new password and certificate on {host}")
    else:
        print_step(
            "secure", f"would check the password and the certificate on {host}, in Jupyter's folder there"
        )
        print_detail(
            "would replace those that are missing or weak, and a certificate that expires within "
            f"{settings.notebook.renew_days} days; would disable settings that undo the protection"
        )
    if options.password_file:
        source = "standard input" if options.password_file == "-" else options.password_file  # noqa: S105
        print_detail(f"would read a new password from {source}")
    if options.certificate_file:
        print_detail(f"would install the certificate {options.certificate_file}")
    if options.restart:
        print_detail("would restart a server that uses an older password or certificate")


def _serve(host: str, settings: Settings) -> None:
    notebook = settings.notebook
    environment = "notebook.activate" if notebook.activate else f"the environment {notebook.environment}"
    if notebook.launcher == "slurm":
        print_step(
            "serve", f"would submit a job on {host} that runs jupyter {notebook.application}, or find it"
        )
        options = " ".join(sbatch_options(notebook.job))
        return print_detail(f"in {notebook.directory}, with {environment}; sbatch {options}".rstrip())
    print_step(
        "serve",
        f"would start jupyter {notebook.application} on {host}, on the first free port from {notebook.remote_port}, "
        "or find the running one",
    )
    print_detail(f"in {notebook.directory}, with {environment} and niceness {notebook.nice}")
    print_detail("would record the session on this machine")


def _tunnel(
    host: str, remote_port: str, settings: Settings, session: Session | None, *, detach: bool
) -> None:
    notebook = settings.notebook
    if notebook.trust:
        print_step("trust", "would add the server's certificate to your browsers' trust stores")
    current = sessions.get_tunnel(session) if session else None
    port = notebook.local_port or (current and current.local_port)
    local_port = f"port {port}" if port else "the first free port from 8888"
    if current:
        print_step(
            "tunnel", f"would keep or replace the tunnel on port {current.local_port} (process {current.pid})"
        )
    background = ", in the background" if detach else ""
    print_step("tunnel", f"would forward {local_port} of this machine to {remote_port} of {host}{background}")
    for port in notebook.forward:
        print_detail(f"would forward the first free port from {port} to {host}:{port}")
    if notebook.plain:
        print_detail(
            "would also listen on another port of this machine, without TLS and with a token of its own"
        )
    if notebook.open_browser:
        print_detail(f"would open {notebook.open or 'the start page'} in the browser, if there is a display")


def _stop(session: AnySession, settings: Settings) -> None:
    if session.gateway == SANDBOX and sandbox.find_running() is None:
        print_step("stop", f"would remove the session on {session.host}, because the sandbox is not running")
    else:
        _print_route(session.destination, settings, session)
        process = (
            f" (process {session.pid}, port {session.remote_port})" if isinstance(session, Session) else ""
        )
        print_step("stop", f"would stop the server on {session.host}{process} and remove the session")
    _close_tunnel("stop", session)


def _close_tunnel(name: str, session: AnySession) -> None:
    tunnel = sessions.get_tunnel(session)
    if tunnel:
        print_step(name, f"would close the tunnel on port {tunnel.local_port} (process {tunnel.pid})")
