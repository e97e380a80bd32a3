"""secure: the login password and the HTTPS certificate, so that nobody else on the host can use the server."""

import sys
import time
from pathlib import Path
from typing import NamedTuple

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import BadSetting, Failed
from notebooks_over_ssh.jupyter import certificate
from notebooks_over_ssh.jupyter import certificate_import as own_certificate
from notebooks_over_ssh.jupyter import passwords as credentials
from notebooks_over_ssh.jupyter import security as protection
from notebooks_over_ssh.jupyter.clock import DAY, difference_in_words
from notebooks_over_ssh.jupyter.connecting import reach
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.terminal import Person, more, step, warn, working
from notebooks_over_ssh.trust_stores import manager as trusting
from notebooks_over_ssh.util.command_hint import command

STANDARD_INPUT = "-"


class Wishes(NamedTuple):
    """What the user wants of the protection, beyond that there is one; the files are paths."""

    renew: bool = False
    password_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    restart: bool = False


def secure(settings: Settings, asking: Asking, person: Person, wishes: Wishes) -> bool:
    """Set what is missing, weak, spent or to be renewed, set aside what contradicts it, and say what that was.

    Returns whether a server of ours runs that began before, and so keeps an older password or certificate. Raises a Problem.
    """
    started = time.monotonic()
    renew = wishes.renew
    own = _own_certificate(wishes)
    password = _from_file(wishes.password_file) if wishes.password_file else None
    start_if_needed(settings.gateway)
    with working("secure", "looking at what protects the notebook server"):
        connection = reach(settings, asking)
        found = protection.look(connection, settings)
    ahead = found.time - time.time()
    clocks = difference_in_words(found.host, ahead) if abs(ahead) > DAY else ""
    why = "" if renew or own else _why_another_certificate(found, settings, clocks)
    is_set = password is not None and _is_set(password, found)
    wants_password = (renew and not is_set) or bool(found.password_trouble)
    wants_certificate = not own and (renew or bool(why))
    contradicted = any(setting.mine for setting in found.contradictions) or bool(found.exposed)
    if password and not wants_password and not is_set:
        warn(
            f"the password is already set, and stays; {command('secure --renew --password-file FILE')} sets the one of the file"
        )
    if not (wants_password or wants_certificate or own or contradicted):
        what = "password unchanged, certificate" if is_set else "password and certificate are"
        step("secure", f"{what} in place, {_until(found.certificate_pem)}", started)
        _warn_of_the_files_of_others(found.contradictions)
        return bool(found.outdated_pid)

    if wants_certificate and clocks:
        warn(f"{clocks}, and the new certificate goes by this machine's")
    made_up = ""
    if wants_password and password is None:
        password, made_up = _choose(person)
        wants_password = not _is_set(password, found)
        started = time.monotonic()
    with working("secure", "setting the password and the certificate"):
        password_hash = (
            credentials.hashed(password, argon2=found.argon2) if wants_password and password else ""
        )
        now = protection.install(
            connection,
            settings,
            found,
            password_hash=password_hash,
            certificate=protection.NEW_CERTIFICATE if wants_certificate else own,
        )
    if now.certificate_trouble:
        raise BadSetting(
            f"the host cannot serve with that certificate: {now.certificate_trouble}",
            hint=f"{command('secure --renew')} makes one for it instead",
        )
    changes = [
        _change("password set", found.password_trouble, renew) if wants_password else "password unchanged",
        _change(f"certificate {'installed' if own else 'made'}", "" if own else why, renew)
        if own or wants_certificate
        else "certificate unchanged",
    ]
    step("secure", f"{', '.join(changes)}, {_until(now.certificate_pem)}", started)
    _tell_what_was_set_aside(now)
    if own and own_certificate.vouches_for_itself(own):
        from notebooks_over_ssh.jupyter import certificate_profile  # slow to import, and seldom wanted

        refused = certificate_profile.find_problem(own)
        until = (
            f"and {command('trust')} refuses it: {refused}"
            if refused
            else f"until {command('trust')} adds it to the browser's store"
        )
        warn(f"no authority has signed that certificate: a browser warns of it, {until}")
    if made_up:
        more(f"the password is  {made_up}")
        more(f"it is shown this once; {command('secure --renew')} sets another")
    if not now.outdated_pid:
        _trust_no_longer(found.certificate_pem, now.certificate_pem)
    return bool(now.outdated_pid)


def _change(what: str, trouble: str, renew: bool) -> str:
    return what if renew or trouble in ("", "missing") else f"{what} (the old one: {trouble})"


def _tell_what_was_set_aside(now: protection.Installed) -> None:
    for exposure in now.exposed:
        more(f"{exposure.path}: {exposure.meaning}")
    for setting in now.contradictions:
        if setting.mine:
            more(f"{setting.path}: {setting.setting} is set aside: {setting.meaning}")
    for copy in now.kept:
        more(f"what was there is kept, for you alone: {copy}")
    _warn_of_the_files_of_others(now.contradictions)


def _warn_of_the_files_of_others(contradictions: tuple[protection.Contradiction, ...]) -> None:
    for setting in contradictions:
        if not setting.mine:
            warn(
                f"{setting.path} sets {setting.setting}, which undoes the protection, and is not yours to change"
            )


def _trust_no_longer(old_pem: str, new_pem: str) -> None:
    try:
        for store in trusting.drop_replaced(old_pem, new_pem):
            step(
                "secure",
                f"{store} trusts the old certificate no longer; {command('trust')} has it trust the new one, "
                f"once {command('serve')} has found it",
            )
    except Failed as problem:
        warn(f"{problem} ({problem.hint})")


def _why_another_certificate(found: protection.Protection, settings: Settings, clocks: str) -> str:
    """What is wrong with the one in place; "" when nothing is.

    Raises Failed where only its dates are, and `clocks` says how far apart the clocks are that they were compared with.
    """
    trouble = found.certificate_trouble or certificate.weakness(found.certificate_pem)
    if trouble:
        return trouble
    shown, days = certificate.parse(found.certificate_pem), settings.notebook.renew_days
    due = shown.date_trouble() or (f"ends within {days} days" if shown.ends_within(days) else "")
    if due and clocks:
        raise Failed(
            f"the certificate on {found.host} {due} by this machine's clock, and {clocks}",
            hint=f"set the clock that is wrong; {command('secure --renew')} makes a certificate that goes by this machine's",
        )
    return due


def _until(pem: str) -> str:
    return f"good until {certificate.parse(pem).expires:%Y-%m-%d}"


def _is_set(password: str, found: protection.Protection) -> bool:
    """Whether it is the password in place, and nothing is wrong with that: then its hash stays, as a running server has it."""
    return not found.password_trouble and credentials.matches(password, found.password_hash)


def _choose(person: Person) -> tuple[str, str]:
    """The password, and again where it was made up and has to be shown."""
    while True:
        first = person.secret("choose a password for the notebook server (enter: make one up):")
        if not first:
            made_up = credentials.made_up()
            return made_up, made_up
        try:
            credentials.check(first)
        except BadSetting as problem:
            warn(str(problem))
            continue
        if person.secret("once more:") == first:
            return first, ""
        warn("the two were not the same")


def _own_certificate(wishes: Wishes) -> str:
    """The user's own certificate and key as PEM, "" where none was given."""
    if wishes.certificate_file is None and wishes.key_file is None:
        return ""
    if wishes.certificate_file is None or wishes.key_file is None:
        raise BadSetting("--certificate and --key go together", hint="give both files, or neither")
    return own_certificate.read(
        Path(wishes.certificate_file).expanduser(), Path(wishes.key_file).expanduser()
    )


def _from_file(password_file: str) -> str:
    try:
        text = (
            sys.stdin.read()
            if password_file == STANDARD_INPUT
            else Path(password_file).expanduser().read_text("utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(
            f"cannot read the password from {password_file}: {error}", hint="give a text file"
        ) from error
    password = text.removesuffix("\n").removesuffix("\r")
    credentials.check(password)
    return password
