"""up: the whole story - secure, serve, tunnel - and at the end what becomes of the server."""

import msgspec

from fabfile.notebooks.session import Session
from fabfile.secure import Wishes, secure
from fabfile.serve import serve
from fabfile.settings import Settings
from fabfile.ssh.asking import Asking
from fabfile.stop import stop_session
from fabfile.terminal import Person, step
from fabfile.trust import trust_on_the_way
from fabfile.tunnel import open_in_background, opened, until_closed


def up(settings: Settings, asking: Asking, person: Person, wishes: Wishes) -> None:
    """Do the three steps and hold the tunnel until Ctrl-C; then do with the server what `on_exit` says."""
    secure(settings, asking, person, wishes)
    session = serve(settings, asking)
    if settings.notebook.trust:
        trust_on_the_way(session)
    with opened(session, settings, asking) as held:
        until_closed(held)
    if held is not None:
        _leave(session, settings, asking, person)


def up_in_background(settings: Settings, asking: Asking, person: Person, wishes: Wishes) -> None:
    """Do the three steps and leave the tunnel in the background."""
    secure(settings, asking, person, wishes)
    session = serve(settings, asking)
    if settings.notebook.trust:
        trust_on_the_way(session)
    open_in_background(session, settings, asking)


def _leave(session: Session, settings: Settings, asking: Asking, person: Person) -> None:
    wish = settings.notebook.on_exit
    if wish == "stop" or (wish == "ask" and person.agrees(f"stop the server on {session.host} too?")):
        stop_session(session, msgspec.structs.replace(settings, gateway=session.gateway), asking, person)
    else:
        step("serve", f"the server on {session.host} goes on; tunnel leads to it again, stop ends it")
