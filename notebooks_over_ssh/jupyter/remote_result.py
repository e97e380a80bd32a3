"""What the programs on the host answer, checked before anything is made of it."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.remote import run_program
from notebooks_over_ssh.util.command_hint import command

Fields = TypeVar("Fields", bound=msgspec.Struct)
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# Of what a message shows of an answer: characters of a text, lines of a log, names in a list.
MAX_TEXT_LENGTH, MAX_LOG_LINES, MAX_NAMES = 300, 20, 20
# By the code of the error (errno(3)), the one thing to do.
SYSTEM_HINTS = {
    **dict.fromkeys(("ENOSPC", "EDQUOT"), "make room there: quota -s and df show what is used"),
    "EFBIG": "a limit on the size of files is in force: ulimit -f shows it",
    **dict.fromkeys(("EACCES", "EPERM"), "look at its owner and mode on the host: ls -ld shows them"),
    "EROFS": "that file system can only be read; ask the administrators of the host",
    **dict.fromkeys(
        ("EMFILE", "ENFILE", "EAGAIN", "ENOMEM"), "end programs of yours on the host, or take another: --host"
    ),
    **dict.fromkeys(
        ("ESTALE", "EIO", "ETIMEDOUT"), "its file system does not work; ask the administrators of the host"
    ),
}
HINT_BAD_REPLY = "another program may print into the login; look at the start-up files of your login shell"


class RemoteProblem(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the way on the host, and what goes with it."""

    problem: str
    alternatives: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    reason: str = ""
    path: str = ""
    directory: str = ""
    pid: int = 0
    busy: int = 0
    code: str = ""
    """Of an error of the system, its name in errno(3)."""
    is_owned: bool = False
    """Of what others can change or read: whether `secure` can close it to them."""

    def truncated(self) -> "RemoteProblem":
        """As much of it as a message shows."""
        texts = {
            name: getattr(self, name)[:MAX_TEXT_LENGTH]
            for name in ("problem", "reason", "path", "directory", "code")
        }
        log = tuple(line[:MAX_TEXT_LENGTH] for line in self.log[-MAX_LOG_LINES:])
        alternatives = tuple(name[:MAX_TEXT_LENGTH] for name in self.alternatives[:MAX_NAMES])
        if len(self.alternatives) > MAX_NAMES:
            alternatives += (f"{len(self.alternatives) - MAX_NAMES} more",)
        return msgspec.structs.replace(self, **texts, log=log, alternatives=alternatives)


class RemoteScriptError(RemoteError):
    """What is in the way on the host; `problem` is the word for it that the program on the host used."""

    def __init__(self, reply: RemoteProblem, message: str, hint: str) -> None:
        super().__init__(message, hint=hint, detail=reply.log, source="log")
        self.problem = reply.problem


def decode(reply: dict[str, Any], kind: type[Fields]) -> Fields:
    """The answer's fields. Raises RemoteError when one is missing or of another kind."""
    try:
        return msgspec.convert(reply, kind)
    except msgspec.ValidationError as error:
        raise RemoteError(
            f"the host gave an answer that makes no sense: {error}", hint=HINT_BAD_REPLY
        ) from error


def validate_host_name(name: str) -> str:
    """The name by which a host knows itself. Raises RemoteError when it is none (RFC 1123, section 2.1)."""
    if not HOST_NAME.fullmatch(name):
        raise RemoteError(f"the host calls itself {name!r}", hint="ask who runs it to give it a name")
    return name


def run_in_environment(
    connection: Connection,
    settings: Settings,
    program: str,
    parameters: dict[str, Any],
    *,
    timeout_s: float,
    confirm: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run a program of ours in the environment of the settings; returns its answer, which names no obstacle.

    `confirm` is that of `run_program`.
    Raises RemoteScriptError with what is in the way, and what was found instead.
    """
    reply = run_program(
        connection,
        program,
        parameters,
        environment=settings.notebook.environment,
        activate=settings.notebook.activate,
        timeout_s=timeout_s,
        confirm=confirm,
    )
    if reply["problem"]:
        raise to_exception(decode(reply, RemoteProblem), settings, connection.label)
    return reply


def to_exception(reply: RemoteProblem, settings: Settings, host: str) -> RemoteScriptError:
    """The obstacle as the user meets it."""
    reply = reply.truncated()
    notebook = settings.notebook
    environment_label = (
        f"environment {notebook.environment}" if not notebook.activate else "environment of notebook.activate"
    )
    alternatives = ", ".join(reply.alternatives)
    message, hint = {
        "environment-missing": (
            f"{host} has no environment called {notebook.environment}"
            + (f"; it has {alternatives}" if alternatives else ", and no other was found"),
            "set notebook.environment to one of them, or to the path of one"
            if alternatives
            else "make one there, or set notebook.environment to its path",
        ),
        "environment-closed": (
            f"your account on {host} has no permission for {', '.join(reply.alternatives)}, which leads to the {environment_label}",
            "ask its owner for permission to read and enter it, or set notebook.environment to another",
        ),
        "activate-failed": (
            f"the command of notebook.activate failed on {host}",
            "try it in a shell on the host",
        ),
        "python-missing": (f"{host} has no Python", "set notebook.environment to an environment that has"),
        "jupyter-missing": (
            f"the {environment_label} on {host} has no Jupyter",
            "install it there: pip install notebook",
        ),
        "application-missing": (
            f"the {environment_label} on {host} has no `jupyter {notebook.application}`",
            f"install it there, or set notebook.application to another than {notebook.application}",
        ),
        "directory-missing": (
            f"{host} has no folder {reply.directory}"
            + (f"; of that path there is {reply.path}" if reply.path else ""),
            "set notebook.directory to one that is there",
        ),
        "directory-closed": (
            f"your account on {host} has no permission to enter and read {reply.directory}",
            "ask its owner for permission, or set notebook.directory to another folder",
        ),
        "exposed": (
            f"{reply.path} on {host} {reply.reason}, and Jupyter loads what is there; nothing was started or changed",
            f"{command('secure')} closes it to them"
            if reply.is_owned
            else "look at what is there and move it away, or have its owner close it to others (chmod go-w)",
        ),
        "config-unreadable": (
            f"{host} has an unreadable {reply.path}, which was left as it is: {reply.reason}",
            "mend the file, or move it away",
        ),
        "not-protected": (
            f"the notebook server on {host} has no protection yet ({reply.reason}), so it was not started",
            f"{command('secure')} sets its password and certificate",
        ),
        "served-unprotected": (
            f"the notebook server on {host} was ended: {reply.reason}",
            "look for what lets it do that in ~/.jupyter on the host",
        ),
        "contradicted": (
            f"{reply.path} on {host} sets {reply.reason}, so the notebook server was not started",
            f"that undoes the protection: {command('secure')} sets it aside where the file is yours, else ask who keeps it",
        ),
        "openssl-missing": (
            f"{host} has no openssl program to make the certificate with",
            f"install it in the environment, or bring your own: {command('secure --certificate FILE --key FILE')}",
        ),
        "not-written": (
            f"the protection could not be written on {host}: {reply.reason}",
            "look at that on the host",
        ),
        "system-error": (
            f"{host} failed: {reply.reason}" + (f": {reply.path}" if reply.path else ""),
            SYSTEM_HINTS.get(reply.code, "look at that on the host"),
        ),
        "not-confirmed": (
            f"{host} waited in vain for the word to start the notebook server, and started none",
            "run it again",
        ),
        "died": (f"the notebook server on {host} ended as it started", "the end of its log, above, says why"),
        "no-answer": (
            f"the notebook server on {host} does not answer: {reply.reason}",
            f"wait longer with notebook.start_timeout_s; {command('stop --force')} ends it",
        ),
        "kernel-failed": (
            f"a kernel of the {environment_label} on {host} does not work: {reply.reason}",
            "see to its ipykernel: pip install --upgrade ipykernel",
        ),
        "still-there": (
            f"the notebook server on {host} (process {reply.pid}) does not end",
            "ask who runs the host to end it",
        ),
    }.get(reply.problem, (f"{host} could not do it: {reply.problem} {reply.reason}", ""))
    return RemoteScriptError(reply, message, hint)
