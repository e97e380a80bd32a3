"""up: the whole story - secure, serve, tunnel - and at the end what becomes of the server."""

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.tasks.secure import SecureOptions, secure
from notebooks_over_ssh.tasks.serve import goes_on_after_interrupt, serve
from notebooks_over_ssh.tasks.stop import stop_session, tell_that_sandbox_runs
from notebooks_over_ssh.tasks.trust import try_trust
from notebooks_over_ssh.tasks.tunnel import open_in_background, open_tunnel, run_until_interrupted
from notebooks_over_ssh.terminal import TerminalPrompter, print_step, warn
from notebooks_over_ssh.util.command_hint import command

STALE_CREDENTIALS_WARNING = (
    "the server that runs keeps its older password or certificate until it is started again"
)


def secure_and_restart(
    settings: Settings, credentials: CredentialPrompter, prompter: TerminalPrompter, options: SecureOptions
) -> None:
    """Do the first step, and start the server again, with its tunnel, where it must be and the user wants that."""
    session = sessions.find(settings)
    tunnel = sessions.get_tunnel(session) if session else None
    if not secure(settings, credentials, prompter, options):
        if options.restart:
            print_step(
                "secure", "no server runs with an older password or certificate, so none was started again"
            )
        return
    stopped_session = _stop_stale_server(settings, credentials, prompter, options)
    if stopped_session is None:
        warn(f"{STALE_CREDENTIALS_WARNING}: {command('secure --restart')} does that")
        return
    # On the ports that they had, so that the address in the browser still leads there.
    notebook = msgspec.structs.replace(settings.notebook, remote_port=stopped_session.remote_port)
    settings = msgspec.structs.replace(
        settings, explicit_host=str(stopped_session.destination), notebook=notebook
    )
    session = serve(settings, credentials)
    if settings.notebook.trust:
        try_trust(session)
    if tunnel is not None:
        notebook = msgspec.structs.replace(notebook, forward=list(tunnel.extra_ports), open_browser=False)
        settings = msgspec.structs.replace(settings, notebook=notebook)
        open_in_background(session, settings, credentials, tunnel.local_port)


def up(
    settings: Settings, credentials: CredentialPrompter, prompter: TerminalPrompter, options: SecureOptions
) -> None:
    """Do the three steps and hold the tunnel; at Ctrl-C, do with the server what `on_exit` says."""
    if secure(settings, credentials, prompter, options):
        _stop_stale_server(settings, credentials, prompter, options)
    session = serve(settings, credentials)
    with goes_on_after_interrupt(session):
        if settings.notebook.trust:
            try_trust(session)
        with open_tunnel(session, settings, credentials) as supervisor:
            interrupted = run_until_interrupted(supervisor, credentials)
        if interrupted:
            _on_exit(session, settings, credentials, prompter)


def up_in_background(
    settings: Settings, credentials: CredentialPrompter, prompter: TerminalPrompter, options: SecureOptions
) -> None:
    """Do the three steps and leave the tunnel in the background."""
    if secure(settings, credentials, prompter, options):
        _stop_stale_server(settings, credentials, prompter, options)
    session = serve(settings, credentials)
    with goes_on_after_interrupt(session):
        if settings.notebook.trust:
            try_trust(session)
        open_in_background(session, settings, credentials)


def _stop_stale_server(
    settings: Settings, credentials: CredentialPrompter, prompter: TerminalPrompter, options: SecureOptions
) -> Session | None:
    """End the server that keeps its older protection, where the user wants that; returns its session then."""
    if not (options.restart or prompter.confirm(f"{STALE_CREDENTIALS_WARNING}: do that now?")):
        return None
    session = sessions.find(settings)
    if not isinstance(session, Session):
        session = serve(settings, credentials)
    stop_session(session, settings, credentials, prompter)
    return session


def _on_exit(
    session: Session, settings: Settings, credentials: CredentialPrompter, prompter: TerminalPrompter
) -> None:
    on_exit = settings.notebook.on_exit
    if on_exit == "stop" or (
        on_exit == "ask" and prompter.confirm(f"stop the server on {session.host} too?")
    ):
        stop_session(
            session, msgspec.structs.replace(settings, gateway=session.gateway), credentials, prompter
        )
        tell_that_sandbox_runs()
    else:
        print_step(
            "serve",
            f"the server on {session.host} keeps running: {command('tunnel')} leads to it again, {command('stop')} ends it",
        )
