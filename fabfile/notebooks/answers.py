"""What the programs on the host answer, checked before anything is made of it."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from fabfile.errors import RemoteFailed
from fabfile.settings import Settings
from fabfile.ssh.connection import Connection
from fabfile.ssh.remote import run_program

Fields = TypeVar("Fields", bound=msgspec.Struct)
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
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
            f"{host} has no folder {obstacle.directory}",
            "set notebook.directory to one that is there",
        ),
        "config-unreadable": (
            f"{host} has an unreadable {obstacle.path}, which was left as it is: {obstacle.reason}",
            "mend the file, or move it away",
        ),
        "not-protected": (
            f"the notebook server on {host} has no protection yet ({obstacle.reason}), so it was not started",
            "set its password and certificate first: secure",
        ),
        "served-unprotected": (
            f"the notebook server on {host} was ended: {obstacle.reason}",
            "look for what lets it do that in ~/.jupyter on the host",
        ),
        "contradicted": (
            f"{obstacle.path} on {host} sets {obstacle.reason}, so the notebook server was not started",
            "that undoes the protection: secure sets it aside where the file is yours, else ask who keeps it",
        ),
        "openssl-missing": (
            f"{host} has no openssl program to make the certificate with",
            "install it in the environment, or bring your own: secure --certificate FILE --key FILE",
        ),
        "not-written": (
            f"{host} cannot write what it must: {obstacle.reason}",
            "see whether the disk is full or a quota is used up",
        ),
        "not-confirmed": (
            f"{host} waited in vain for the word to start the notebook server, and started none",
            "run it again",
        ),
        "died": (f"the notebook server on {host} ended as it started", "the end of its log, above, says why"),
        "no-answer": (
            f"the notebook server on {host} does not answer: {obstacle.reason}",
            "wait longer with notebook.start_timeout_s, or end it with stop --force",
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
