"""up: secure, serve and tunnel in one command; and the restart of a server with stale credentials."""

import math
from contextlib import ExitStack

from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import Session, Tunnel
from notebooks_over_ssh.launchers import LAUNCHERS
from notebooks_over_ssh.ssh import connections as ssh
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.mux.transport import MuxTransport
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.tasks.secure import SecureOptions, secure
from notebooks_over_ssh.tasks.serve import STALE_CREDENTIALS_WARNING, report_running_on_interrupt, serve
from notebooks_over_ssh.tasks.start_record import StillQueuedError
from notebooks_over_ssh.tasks.stop import report_idle_sandbox, stop_for_restart, stop_session
from notebooks_over_ssh.tasks.trust import try_trust
from notebooks_over_ssh.tasks.tunnel import (
    background_login,
    open_in_background,
    open_tunnel,
    run_until_interrupted,
    wait_in_background,
)
from notebooks_over_ssh.terminal import print_step, warn
from notebooks_over_ssh.tunnel import early_check
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.tunnel.background_process import BackgroundProcess
from notebooks_over_ssh.tunnel.next_server import settings_of_restart
from notebooks_over_ssh.util.command_hint import command

QUEUE_TIMEOUT_S = 4
"""How long `up --detach` waits for a queued job itself: on an idle cluster it starts meanwhile."""
NOTHING_STALE = "no running server uses an older password or certificate, so none was restarted"


def secure_and_restart(run: Run, options: SecureOptions) -> None:
    """Set the password and certificate. If a server uses older ones, restart it and its tunnel when the user agrees."""
    stale = secure(run, options).stale
    if stale is None:
        if options.restart:
            print_step("secure", NOTHING_STALE)
        return
    if not _should_restart(run, options):
        warn(f"{STALE_CREDENTIALS_WARNING}: {command('secure --restart')} restarts it")
        return
    tunnel = sessions.get_tunnel(stale.session)
    stopped = stop_for_restart(stale.session, stale.pid, run)
    if stopped is None:
        print_step("secure", NOTHING_STALE)
        return
    run = run.with_settings(settings_of_restart(stale.session, run.settings))
    # Keep both ports, so that the address in the browser stays valid.
    run = run.with_notebook(remote_port=stopped.port or run.settings.notebook.remote_port)
    with ExitStack() as stack:
        process = None if tunnel is None else stack.enter_context(background_login(run))
        session = serve(run)
        if run.settings.notebook.trust:
            try_trust(session)
        if tunnel is not None:
            run = run.with_notebook(
                forward=list(tunnel.extra_ports), plain=tunnel.plain_port is not None, open_browser=False
            )
            open_in_background(session, run, tunnel.local_port, process)


def up(run: Run, options: SecureOptions) -> None:
    """Secure, serve, and keep a tunnel open until Ctrl-C. Then stop the server, keep it or ask, as `on_exit` says."""
    session = _secure_and_serve(run, options)
    with report_running_on_interrupt(session):
        if run.settings.notebook.trust:
            try_trust(session)
        with open_tunnel(session, run) as supervisor:
            interrupted = run_until_interrupted(supervisor, run)
            if interrupted and supervisor is not None and run.settings.notebook.on_exit != "keep":
                supervisor.keep_login()
        if interrupted:
            _on_exit(
                sessions.reload(session),
                run,
                awaits_server=supervisor is not None and supervisor.awaits_server,
            )


def up_in_background(run: Run, options: SecureOptions) -> None:
    """Secure, serve, and open a tunnel in the background, which waits for the job of the server if that is queued."""
    expected, tunnel = _expected_tunnel(run)
    with background_login(run, None if tunnel else expected) as process:
        try:
            session = _secure_and_serve(run, options, process, QUEUE_TIMEOUT_S)
        except StillQueuedError as queued:
            if run.settings.notebook.trust:
                warn(f"the certificate is not known before the server runs: {command('trust')} adds it then")
            return wait_in_background(queued.session, run, process)
        with report_running_on_interrupt(session):
            if run.settings.notebook.trust:
                try_trust(session)
            open_in_background(session, run, process=process)


def _secure_and_serve(
    run: Run,
    options: SecureOptions,
    process: BackgroundProcess | None = None,
    queue_timeout_s: float = math.inf,
) -> Session:
    """Secure, restart a server with stale credentials if the user agrees, and serve.

    Meanwhile the server on record is checked by the route that the tunnel will take; if the `process` will open it,
    that does so itself.
    """

    def connected(connection: Connection) -> None:
        if not isinstance(connection.transport, MuxTransport):  # else the process with the login does that
            connection.transport.sessions_ahead.start()
        session, tunnel = _expected_tunnel(run)
        if session is not None and tunnel is not None:
            early_check.begin(session, tunnel.local_port)
        elif session is not None and process is None:
            early_check.begin(session, connection)

    stale, running = secure(run, options, connected)
    if stale is not None and _should_restart(run, options):
        stop_for_restart(stale.session, stale.pid, run)
        run = run.with_settings(settings_of_restart(stale.session, run.settings))
    return serve(run, queue_timeout_s, running)


def _expected_tunnel(run: Run) -> tuple[Session | None, Tunnel | None]:
    """The session on record whose server will probably be forwarded to, and the tunnel to it that is open already."""
    session = sessions.find(run.settings)
    if not isinstance(session, Session) or not LAUNCHERS[session.launcher].is_local:
        return None, None
    return session, tunnels.get_reusable(session, run.settings)


def _should_restart(run: Run, options: SecureOptions) -> bool:
    return options.restart or run.prompter.confirm(f"{STALE_CREDENTIALS_WARNING}: restart it now?")


def _on_exit(session: Session, run: Run, *, awaits_server: bool) -> None:
    on_exit = run.settings.notebook.on_exit
    question = "cancel its job too?" if awaits_server else f"stop the server on {session.host} too?"
    if on_exit == "stop" or (on_exit == "ask" and run.prompter.confirm(question)):
        ssh.close_unresponsive()
        stop_session(session, run)
        report_idle_sandbox()
    elif awaits_server:
        print_step(
            "serve",
            f"the job of the server stays: {command('serve')} waits for it, {command('stop')} cancels it",
        )
    else:
        print_step(
            "serve",
            f"the server on {session.host} keeps running: {command('tunnel')} reconnects, {command('stop')} stops it",
        )
