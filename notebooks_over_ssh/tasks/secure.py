"""secure: set the login password and the HTTPS certificate that keep other users of the host out of the server."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import ConfigError, TaskError
from notebooks_over_ssh.jupyter import certificate, certificate_import, passwords, security, server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.clock import DAY, describe_difference
from notebooks_over_ssh.jupyter.connecting import connect
from notebooks_over_ssh.jupyter.session import AnySession
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.tasks.trust import remove_replaced
from notebooks_over_ssh.terminal import TerminalPrompter, print_detail, print_step, progress, warn
from notebooks_over_ssh.util.command_hint import command

STDIN_PATH = "-"


class SecureOptions(NamedTuple):
    """The flags of `secure`. Files are given as paths."""

    renew: bool = False
    password_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    restart: bool = False


class StaleServer(NamedTuple):
    """A running server that still uses an older password or certificate: its session and PID."""

    session: AnySession
    pid: int


class Secured(NamedTuple):
    """What was found out about the running server: one of the two, or neither."""

    stale: StaleServer | None
    running: server.StartedServer | None = None
    """The server if it uses the current password and certificate, and answers."""


def secure(
    run: Run, options: SecureOptions, connected: Callable[[Connection], None] = lambda connection: None
) -> Secured:
    """Replace a password or certificate that is missing, weak or expired, and disable settings that would undo them.

    `connected` is called before the host is asked for its status. Raises a UserError.
    """
    start_time = time.monotonic()
    settings = run.settings
    renew = options.renew
    own_pem = _read_own_certificate(options)
    password = _read_password_file(options.password_file) if options.password_file else None
    start_if_needed(settings.gateway)
    with progress("secure", "checking the password and the certificate"):
        connection = connect(settings, run.credentials)
        connected(connection)
        status = security.get_status(connection, settings)
    clock_offset_s = status.time - time.time()
    clock_difference = describe_difference(status.host, clock_offset_s) if abs(clock_offset_s) > DAY else ""
    reason_to_renew = "" if renew or own_pem else _renewal_reason(status, settings, clock_difference)
    is_set = password is not None and _is_set(password, status)
    set_password = (renew and not is_set) or bool(status.password_problem)
    make_certificate = not own_pem and (renew or bool(reason_to_renew))
    must_fix = any(setting.is_owned for setting in status.insecure_settings) or bool(status.exposed)
    if password and not set_password and not is_set:
        warn(
            f"another password is already set, and stays: {command('secure --renew --password-file FILE')} replaces it"
        )
    if not (set_password or make_certificate or own_pem or must_fix):
        expiry_date = _expiry_date(status.certificate_pem)
        print_step("secure", f"password and certificate unchanged, valid until {expiry_date}", start_time)
        _warn_unowned_settings(status.insecure_settings)
        stale = _stale_server(status.stale_server_pid, status.host, connection, settings)
        return Secured(stale, status.running_server)

    if make_certificate and clock_difference:
        warn(f"{clock_difference}; the new certificate is dated by this machine's clock")
    generated = ""
    if set_password and password is None:
        password, generated = _prompt_password(run.prompter)
        set_password = not _is_set(password, status)
        start_time = time.monotonic()
    with progress("secure", "setting the password and the certificate"):
        password_hash = (
            passwords.hash_password(password, argon2=status.argon2) if set_password and password else ""
        )
        update = security.install(
            connection,
            settings,
            status,
            password_hash=password_hash,
            certificate=security.NEW_CERTIFICATE if make_certificate else own_pem,
        )
    if update.certificate_problem:
        raise ConfigError(
            f"the host cannot use that certificate: {update.certificate_problem}",
            hint=f"{command('secure --renew')} creates one on the host instead",
        )
    changes = {"password": "unchanged", "certificate": "unchanged"}
    if set_password:
        changes["password"] = "set" if renew else _with_reason("set", status.password_problem)
    if own_pem:
        changes["certificate"] = "installed"
    elif make_certificate:
        changes["certificate"] = "created" if renew else _with_reason("created", reason_to_renew)
    summary = ", ".join(f"{name} {change}" for name, change in changes.items())
    print_step("secure", f"{summary}, valid until {_expiry_date(update.certificate_pem)}", start_time)
    _report_disabled_settings(update)
    if own_pem and certificate_import.is_self_signed(own_pem):
        _warn_self_signed(own_pem)
    if generated:
        print_detail(f"the password is  {generated}")
        print_detail(f"it will not be shown again; {command('secure --renew')} sets a new one")
    if not update.stale_server_pid:
        remove_replaced("secure", status.certificate_pem, update.certificate_pem)
    return Secured(_stale_server(update.stale_server_pid, status.host, connection, settings))


def _stale_server(pid: int, host: str, connection: Connection, settings: Settings) -> StaleServer | None:
    if not pid:
        return None
    session = sessions.find(settings) or server.make_pending_session(host, connection, settings)
    return StaleServer(session, pid)


def _with_reason(change: str, problem: str) -> str:
    return change if problem == "missing" else f"{change} (the old one: {problem})"


def _warn_self_signed(pem: str) -> None:
    from notebooks_over_ssh.jupyter import certificate_profile  # slow to import, and rarely needed

    problem = certificate_profile.find_problem(pem)
    advice = (
        f", and {command('trust')} refuses it: {problem}"
        if problem
        else f" until {command('trust')} adds it to their trust stores"
    )
    warn(f"that certificate is self-signed, so browsers show a warning{advice}")


def _report_disabled_settings(update: security.SecurityUpdate) -> None:
    for exposure in update.exposed:
        print_detail(f"{exposure.path}: {exposure.explanation}")
    for setting in update.insecure_settings:
        if setting.is_owned:
            print_detail(f"{setting.path}: disabled {setting.setting}: {setting.explanation}")
    for backup in update.backups:
        print_detail(f"backup of the old file: {backup}")
    _warn_unowned_settings(update.insecure_settings)


def _warn_unowned_settings(insecure_settings: tuple[security.InsecureSetting, ...]) -> None:
    for setting in insecure_settings:
        if not setting.is_owned:
            warn(
                f"{setting.path} sets {setting.setting}, which undoes the protection; "
                "it is not your own file, so it was not changed"
            )


def _renewal_reason(status: security.SecurityStatus, settings: Settings, clock_difference: str) -> str:
    """Why the current certificate must be renewed; "" if it need not be.

    Raises TaskError if its dates are the only reason, and the clocks differ as `clock_difference` says.
    """
    problem = status.certificate_problem or certificate.find_problem(status.certificate_pem)
    if problem:
        return problem
    cert, days = certificate.parse(status.certificate_pem), settings.notebook.renew_days
    due = cert.date_problem() or (f"expires within {days} days" if cert.expires_within(days) else "")
    if due and clock_difference:
        raise TaskError(
            f"the certificate on {status.host} {due} by this machine's clock, and {clock_difference}",
            hint=f"correct the wrong clock, or create a certificate by this machine's: {command('secure --renew')}",
        )
    return due


def _expiry_date(pem: str) -> str:
    return f"{certificate.parse(pem).expires:%Y-%m-%d}"


def _is_set(password: str, status: security.SecurityStatus) -> bool:
    """Whether this password is set already, with a strong hash. The hash then stays, as a running server may use it."""
    return not status.password_problem and passwords.matches(password, status.password_hash)


def _prompt_password(prompter: TerminalPrompter) -> tuple[str, str]:
    """Prompt for a password. Returns it, and the same again if it was generated and must be shown, else ""."""
    while True:
        first = prompter.ask_secret("new password for the notebook server (leave it empty to generate one):")
        if not first:
            generated = passwords.generate_password()
            return generated, generated
        try:
            passwords.validate_password(first)
        except ConfigError as error:
            warn(str(error))
            continue
        if prompter.ask_secret("confirm the password:") == first:
            return first, ""
        warn("the passwords do not match")


def _read_own_certificate(options: SecureOptions) -> str:
    """The user's own certificate and key as PEM; "" if none was given."""
    if options.certificate_file is None and options.key_file is None:
        return ""
    if options.certificate_file is None or options.key_file is None:
        raise ConfigError("--certificate and --key go together", hint="give both files, or neither")
    return certificate_import.read(
        Path(options.certificate_file).expanduser(), Path(options.key_file).expanduser()
    )


def _read_password_file(password_file: str) -> str:
    try:
        text = (
            sys.stdin.read()
            if password_file == STDIN_PATH
            else Path(password_file).expanduser().read_text("utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"cannot read the password from {password_file}: {reason}", hint="give a text file"
        ) from error
    password = text.removesuffix("\n").removesuffix("\r")
    passwords.validate_password(password)
    return password
