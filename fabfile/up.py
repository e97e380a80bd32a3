"""up: the whole story - secure, serve, tunnel - and at the end what becomes of the server."""

import msgspec

from fabfile.notebooks.session import Session
from fabfile.secure import secure
from fabfile.serve import serve
from fabfile.settings import Settings
from fabfile.ssh.asking import Asking
from fabfile.stop import stop_session
from fabfile.terminal import Person, step
from fabfile.tunnel import open_in_background, opened, until_closed


def up(
    settings: Settings,
    asking: Asking,
    person: Person,
    *,
    renew: bool = False,
    password_file: str | None = None,
    own_certificate: tuple[str, str] | None = None,
) -> None:
    """Do the three steps and hold the tunnel until Ctrl-C; then do with the server what `on_exit` says."""
    session = _ready_to_use(settings, asking, person, renew, password_file, own_certificate)
    with opened(session, settings, asking) as held:
        until_closed(held)
    if held is not None:
        _leave(session, settings, asking, person)


def up_in_background(
    settings: Settings,
    asking: Asking,
    person: Person,
    *,
    renew: bool = False,
    password_file: str | None = None,
    own_certificate: tuple[str, str] | None = None,
) -> None:
    """Do the three steps and leave the tunnel in the background."""
    session = _ready_to_use(settings, asking, person, renew, password_file, own_certificate)
    open_in_background(session, settings, asking)


def _ready_to_use(
    settings: Settings,
    asking: Asking,
    person: Person,
    renew: bool,
    password_file: str | None,
    own_certificate: tuple[str, str] | None,
) -> Session:
    secure(
        settings, asking, person, renew=renew, password_file=password_file, own_certificate=own_certificate
    )
    return serve(settings, asking)


def _leave(session: Session, settings: Settings, asking: Asking, person: Person) -> None:
    wish = settings.notebook.on_exit
    if wish == "stop" or (wish == "ask" and person.agrees(f"stop the server on {session.host} too?")):
        stop_session(session, msgspec.structs.replace(settings, gateway=session.gateway), asking, person)
    else:
        step("serve", f"the server on {session.host} goes on; tunnel leads to it again, stop ends it")
