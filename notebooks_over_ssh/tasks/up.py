"""up: the whole story - secure, serve, tunnel - and at the end what becomes of the server."""

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.tasks.secure import Wishes, secure
from notebooks_over_ssh.tasks.serve import goes_on_after_interrupt, serve
from notebooks_over_ssh.tasks.stop import stop_session, tell_that_sandbox_runs
from notebooks_over_ssh.tasks.trust import trust_on_the_way
from notebooks_over_ssh.tasks.tunnel import open_in_background, opened, until_closed
from notebooks_over_ssh.terminal import Person, step, warn
from notebooks_over_ssh.util.command_hint import command

KEEPS = "the server that runs keeps its older password or certificate until it is started again"


def secure_and_restart(settings: Settings, asking: Asking, person: Person, wishes: Wishes) -> None:
    """Do the first step, and start the server again, with its tunnel, where it must be and the user wants that."""
    session = sessions.find(settings)
    tunnel = sessions.tunnel_of(session) if session else None
    if not secure(settings, asking, person, wishes):
        if wishes.restart:
            step("secure", "no server runs with an older password or certificate, so none was started again")
        return
    ended = _ended(settings, asking, person, wishes)
    if ended is None:
        warn(f"{KEEPS}: {command('secure --restart')} does that")
        return
    # On the ports that they had, so that the address in the browser still leads there.
    notebook = msgspec.structs.replace(settings.notebook, remote_port=ended.remote_port)
    settings = msgspec.structs.replace(settings, host_given=str(ended.place), notebook=notebook)
    session = serve(settings, asking)
    if settings.notebook.trust:
        trust_on_the_way(session)
    if tunnel is not None:
        notebook = msgspec.structs.replace(notebook, forward=list(tunnel.extra_ports), open_browser=False)
        settings = msgspec.structs.replace(settings, notebook=notebook)
        open_in_background(session, settings, asking, tunnel.local_port)


def up(settings: Settings, asking: Asking, person: Person, wishes: Wishes) -> None:
    """Do the three steps and hold the tunnel; at Ctrl-C, do with the server what `on_exit` says."""
    if secure(settings, asking, person, wishes):
        _ended(settings, asking, person, wishes)
    session = serve(settings, asking)
    with goes_on_after_interrupt(session):
        if settings.notebook.trust:
            trust_on_the_way(session)
        with opened(session, settings, asking) as held:
            interrupted = until_closed(held, asking)
        if interrupted:
            _leave(session, settings, asking, person)


def up_in_background(settings: Settings, asking: Asking, person: Person, wishes: Wishes) -> None:
    """Do the three steps and leave the tunnel in the background."""
    if secure(settings, asking, person, wishes):
        _ended(settings, asking, person, wishes)
    session = serve(settings, asking)
    with goes_on_after_interrupt(session):
        if settings.notebook.trust:
            trust_on_the_way(session)
        open_in_background(session, settings, asking)


def _ended(settings: Settings, asking: Asking, person: Person, wishes: Wishes) -> Session | None:
    """End the server that keeps its older protection, where the user wants that; returns its session then."""
    if not (wishes.restart or person.agrees(f"{KEEPS}: do that now?")):
        return None
    session = sessions.find(settings)
    if not isinstance(session, Session):
        session = serve(settings, asking)
    stop_session(session, settings, asking, person)
    return session


def _leave(session: Session, settings: Settings, asking: Asking, person: Person) -> None:
    wish = settings.notebook.on_exit
    if wish == "stop" or (wish == "ask" and person.agrees(f"stop the server on {session.host} too?")):
        stop_session(session, msgspec.structs.replace(settings, gateway=session.gateway), asking, person)
        tell_that_sandbox_runs()
    else:
        step(
            "serve",
            f"the server on {session.host} keeps running: {command('tunnel')} leads to it again, {command('stop')} ends it",
        )
