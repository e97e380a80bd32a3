"""What the programs on the host answer, checked before anything is made of it."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteFailed
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.remote import run_program
from notebooks_over_ssh.util.command_hint import command

Fields = TypeVar("Fields", bound=msgspec.Struct)
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# Of what a message shows of an answer: characters of a text, lines of a log, names in a list.
SHOWN_TEXT, SHOWN_LINES, SHOWN_NAMES = 300, 20, 20
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
HINT_OF_NONSENSE = "another program may print into the login; look at the start-up files of your login shell"


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the way on the host, and what goes with it."""

    problem: str
    found: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    reason: str = ""
    path: str = ""
    directory: str = ""
    pid: int = 0
    busy: int = 0
    code: str = ""
    """Of an error of the system, its name in errno(3)."""
    mine: bool = False
    """Of what others can change or read: whether `secure` can close it to them."""

    def shortened(self) -> "Obstacle":
        """As much of it as a message shows."""
        texts = {
            name: getattr(self, name)[:SHOWN_TEXT]
            for name in ("problem", "reason", "path", "directory", "code")
        }
        log = tuple(line[:SHOWN_TEXT] for line in self.log[-SHOWN_LINES:])
        found = tuple(name[:SHOWN_TEXT] for name in self.found[:SHOWN_NAMES])
        if len(self.found) > SHOWN_NAMES:
            found += (f"{len(self.found) - SHOWN_NAMES} more",)
        return msgspec.structs.replace(self, **texts, log=log, found=found)


class Obstructed(RemoteFailed):
    """What is in the way on the host; `problem` is the word for it that the program on the host used."""

    def __init__(self, obstacle: Obstacle, message: str, hint: str) -> None:
        super().__init__(message, hint=hint, detail=obstacle.log, source="log")
        self.problem = obstacle.problem


def checked(answer: dict[str, Any], kind: type[Fields]) -> Fields:
    """The answer's fields. Raises RemoteFailed when one is missing or of another kind."""
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise RemoteFailed(
            f"the host gave an answer that makes no sense: {error}", hint=HINT_OF_NONSENSE
        ) from error


def checked_host_name(name: str) -> str:
    """The name by which a host knows itself. Raises RemoteFailed when it is none (RFC 1123, section 2.1)."""
    if not HOST_NAME.fullmatch(name):
        raise RemoteFailed(f"the host calls itself {name!r}", hint="ask who runs it to give it a name")
    return name


def ask_in_environment(
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
    Raises Obstructed with what is in the way, and what was found instead.
    """
    answer = run_program(
        connection,
        program,
        parameters,
        environment=settings.notebook.environment,
        activate=settings.notebook.activate,
        timeout_s=timeout_s,
        confirm=confirm,
    )
    if answer["problem"]:
        raise explained(checked(answer, Obstacle), settings, connection.label)
    return answer


def explained(obstacle: Obstacle, settings: Settings, host: str) -> Obstructed:
    """The obstacle as the user meets it."""
    obstacle = obstacle.shortened()
    wanted = settings.notebook
    where = f"environment {wanted.environment}" if not wanted.activate else "environment of notebook.activate"
    found = ", ".join(obstacle.found)
    message, hint = {
        "environment-missing": (
            f"{host} has no environment called {wanted.environment}"
            + (f"; it has {found}" if found else ", and no other was found"),
            "set notebook.environment to one of them, or to the path of one"
            if found
            else "make one there, or set notebook.environment to its path",
        ),
        "environment-closed": (
            f"your account on {host} has no permission for {', '.join(obstacle.found)}, which leads to the {where}",
            "ask its owner for permission to read and enter it, or set notebook.environment to another",
        ),
        "activate-failed": (
            f"the command of notebook.activate failed on {host}",
            "try it in a shell on the host",
        ),
        "python-missing": (f"{host} has no Python", "set notebook.environment to an environment that has"),
        "jupyter-missing": (
            f"the {where} on {host} has no Jupyter",
            "install it there: pip install notebook",
        ),
        "application-missing": (
            f"the {where} on {host} has no `jupyter {wanted.application}`",
            f"install it there, or set notebook.application to another than {wanted.application}",
        ),
        "directory-missing": (
            f"{host} has no folder {obstacle.directory}"
            + (f"; of that path there is {obstacle.path}" if obstacle.path else ""),
            "set notebook.directory to one that is there",
        ),
        "directory-closed": (
            f"your account on {host} has no permission to enter and read {obstacle.directory}",
            "ask its owner for permission, or set notebook.directory to another folder",
        ),
        "exposed": (
            f"{obstacle.path} on {host} {obstacle.reason}, and Jupyter loads what is there; nothing was started or changed",
            f"{command('secure')} closes it to them"
            if obstacle.mine
            else "look at what is there and move it away, or have its owner close it to others (chmod go-w)",
        ),
        "config-unreadable": (
            f"{host} has an unreadable {obstacle.path}, which was left as it is: {obstacle.reason}",
            "mend the file, or move it away",
        ),
        "not-protected": (
            f"the notebook server on {host} has no protection yet ({obstacle.reason}), so it was not started",
            f"{command('secure')} sets its password and certificate",
        ),
        "served-unprotected": (
            f"the notebook server on {host} was ended: {obstacle.reason}",
            "look for what lets it do that in ~/.jupyter on the host",
        ),
        "contradicted": (
            f"{obstacle.path} on {host} sets {obstacle.reason}, so the notebook server was not started",
            f"that undoes the protection: {command('secure')} sets it aside where the file is yours, else ask who keeps it",
        ),
        "openssl-missing": (
            f"{host} has no openssl program to make the certificate with",
            f"install it in the environment, or bring your own: {command('secure --certificate FILE --key FILE')}",
        ),
        "not-written": (
            f"the protection could not be written on {host}: {obstacle.reason}",
            "look at that on the host",
        ),
        "system-error": (
            f"{host} failed: {obstacle.reason}" + (f": {obstacle.path}" if obstacle.path else ""),
            SYSTEM_HINTS.get(obstacle.code, "look at that on the host"),
        ),
        "not-confirmed": (
            f"{host} waited in vain for the word to start the notebook server, and started none",
            "run it again",
        ),
        "died": (f"the notebook server on {host} ended as it started", "the end of its log, above, says why"),
        "no-answer": (
            f"the notebook server on {host} does not answer: {obstacle.reason}",
            f"wait longer with notebook.start_timeout_s; {command('stop --force')} ends it",
        ),
        "kernel-failed": (
            f"a kernel of the {where} on {host} does not work: {obstacle.reason}",
            "see to its ipykernel: pip install --upgrade ipykernel",
        ),
        "still-there": (
            f"the notebook server on {host} (process {obstacle.pid}) does not end",
            "ask who runs the host to end it",
        ),
    }.get(obstacle.problem, (f"{host} could not do it: {obstacle.problem} {obstacle.reason}", ""))
    return Obstructed(obstacle, message, hint)
