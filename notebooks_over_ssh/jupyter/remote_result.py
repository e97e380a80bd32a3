"""The replies of the programs on the host: their validation, and the error message for each problem."""

import difflib
import re
import shlex
from typing import Any, TypeVar

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.environment import configured_environment
from notebooks_over_ssh.ssh.remote import run_program
from notebooks_over_ssh.util.command_hint import command

Fields = TypeVar("Fields", bound=msgspec.Struct)
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# The limits of a reply in a message: characters of a text, lines of a log, names in a list.
MAX_TEXT_LENGTH, MAX_LOG_LINES, MAX_NAMES = 300, 20, 20
# By the name of the error in errno(3).
SYSTEM_HINTS = {
    **dict.fromkeys(("ENOSPC", "EDQUOT"), "free some space there: quota -s and df show the usage"),
    "EFBIG": "the size of files is limited: ulimit -f shows the limit",
    **dict.fromkeys(("EACCES", "EPERM"), "check its owner and mode on the host: ls -ld shows them"),
    "EROFS": "the file system is read-only; ask the administrators of the host",
    **dict.fromkeys(
        ("EMFILE", "ENFILE", "EAGAIN", "ENOMEM"),
        "end some of your programs on the host, or use another: --host",
    ),
    **dict.fromkeys(
        ("ESTALE", "EIO", "ETIMEDOUT"), "the file system does not work; ask the administrators of the host"
    ),
}
# What creates a project's environment, by the tool that manages it.
CREATE = {"uv": "uv sync", "poetry": "poetry install"}
HINT_BAD_REPLY = "another program may print at login; check the start-up files of your login shell"


class RemoteProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem on the host, and its details."""

    problem: str
    alternatives: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    reason: str = ""
    path: str = ""
    directory: str = ""
    pid: int = 0
    busy: int = 0
    code: str = ""
    """The name of a system error in errno(3)."""
    is_owned: bool = False
    """Whether `secure` can close the exposed file or folder."""

    def truncated(self) -> "RemoteProblem":
        """A copy with the texts and lists cut to what a message shows."""
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
    """A problem on the host; `problem` is its name in the reply of the program there."""

    def __init__(self, reply: RemoteProblem, message: str, hint: str) -> None:
        super().__init__(message, hint=hint, detail=reply.log, source="log")
        self.problem = reply.problem


def decode(reply: dict[str, Any], kind: type[Fields]) -> Fields:
    """The reply as a struct. Raises RemoteError if a field is missing or has the wrong type."""
    try:
        return msgspec.convert(reply, kind)
    except msgspec.ValidationError as error:
        raise RemoteError(f"the host sent an invalid reply: {error}", hint=HINT_BAD_REPLY) from error


def validate_host_name(name: str) -> str:
    """Return the host name that a host reports. Raises RemoteError if it is not valid (RFC 1123, section 2.1)."""
    if not HOST_NAME.fullmatch(name):
        raise RemoteError(
            f"the host reports an invalid host name: {name!r}", hint="ask its administrators to set one"
        )
    return name


def run_in_environment(
    connection: Connection,
    settings: Settings,
    program: str,
    parameters: dict[str, Any],
    *,
    timeout_s: float,
) -> dict[str, Any]:
    """Run a program of `remote_scripts` in the environment of the settings, and return its reply.

    Raises RemoteScriptError if the reply has a problem.
    """
    reply = run_program(
        connection,
        program,
        parameters,
        environment=configured_environment(settings.notebook),
        timeout_s=timeout_s,
    )
    return successful(reply, settings, connection)


def successful(reply: dict[str, Any], settings: Settings, connection: Connection) -> dict[str, Any]:
    """Return the reply of a program. Raises RemoteScriptError if it has a problem."""
    if reply["problem"]:
        raise to_exception(decode(reply, RemoteProblem), settings, connection.label)
    return reply


def to_exception(reply: RemoteProblem, settings: Settings, host: str) -> RemoteScriptError:
    """The exception with the message and hint for the problem of a reply."""
    module_exists = any(f"{name}/".startswith(f"{reply.reason}/") for name in reply.alternatives)
    if reply.problem == "module-failed":
        reply = msgspec.structs.replace(reply, alternatives=_near_modules(reply.reason, reply.alternatives))
    reply = reply.truncated()
    notebook = settings.notebook
    environment_label = (
        "environment of notebook.activate" if notebook.activate else f"environment {notebook.environment}"
    )
    alternatives = ", ".join(reply.alternatives)
    existing = f"; the host has {alternatives}" if alternatives else "; no other environment was found"
    message, hint = {
        "environment-missing": (
            f"{host} has no environment called {notebook.environment}{existing}",
            "set notebook.environment to one of them, or to the path of one"
            if alternatives
            else "create one there, or set notebook.environment to the path of one",
        ),
        "project-missing": (
            f"no folder at or above {notebook.directory} on {host} has a pyproject.toml{existing}",
            "set notebook.directory to a folder of the project, or notebook.environment to another",
        ),
        "project-environment-missing": (
            f"the project {reply.reason} on {host} has no environment of {notebook.environment} yet{existing}",
            f"create it on the host: cd {shlex.quote(reply.reason)} && {CREATE.get(notebook.environment)}",
        ),
        "poetry-missing": (
            f"{host} has no program poetry in the PATH or ~/.local/bin{existing}",
            "set notebook.environment to the path of the project's environment: poetry env info --path",
        ),
        "environment-inaccessible": (
            f"your account on {host} has no permission for {alternatives}, part of the {environment_label}",
            "ask its owner for permission to read and enter it, or set notebook.environment to another",
        ),
        "activate-failed": (
            f"the command of notebook.activate failed on {host}",
            "try it in a shell on the host",
        ),
        "modules-missing": (
            f"{host} has no `module` command: neither Lmod nor Environment Modules was found",
            "remove notebook.modules, or set notebook.activate to the commands in the guide of your site",
        ),
        "module-failed": (
            f"the module {reply.reason} does not load on {host}"
            if module_exists
            else f"{host} has no module {reply.reason}"
            + (f"; it has {alternatives}" if alternatives else ", nor a similar one"),
            "see the reason above; modules that it needs go before it in notebook.modules"
            if module_exists
            else "set notebook.modules to names that `module avail` lists on the host",
        ),
        "python-missing": (f"{host} has no Python", "set notebook.environment to an environment with Python"),
        "jupyter-missing": (
            f"the {environment_label} on {host} has no Jupyter",
            "install it there: pip install notebook",
        ),
        "application-missing": (
            f"the {environment_label} on {host} has no `jupyter {notebook.application}`",
            f"install it there, or set notebook.application to something other than {notebook.application}",
        ),
        "prefix-missing": (
            f"{host} has no program {reply.reason}, which notebook.prefix names",
            "ask the administrators for it, or set notebook.prefix to []",
        ),
        "directory-missing": (
            f"{host} has no folder {reply.directory}" + (f"; only {reply.path} exists" if reply.path else ""),
            "set notebook.directory to a folder that exists",
        ),
        "directory-inaccessible": (
            f"your account on {host} has no permission to enter and read {reply.directory}",
            "ask its owner for permission, or set notebook.directory to another folder",
        ),
        "exposed": (
            f"{reply.path} on {host} {reply.reason}, and Jupyter loads it; nothing was started or changed",
            f"{command('secure')} removes their access"
            if reply.is_owned
            else "check its contents and move it away, or have its owner remove access for others (chmod go-w)",
        ),
        "config-unreadable": (
            f"cannot read {reply.path} on {host}: {reply.reason}; it was not changed",
            "fix the file, or move it away",
        ),
        "not-protected": (
            f"the notebook server on {host} is not protected ({reply.reason}), so it was not started",
            f"{command('secure')} sets its password and certificate",
        ),
        "audit-failed": (
            f"the notebook server on {host} was stopped: {reply.reason}",
            "find the setting that allows it, in ~/.jupyter on the host",
        ),
        "insecure-setting": (
            f"{reply.path} on {host} sets {reply.reason}, so the notebook server was not started",
            f"it undoes the protection: {command('secure')} disables it in your own files; for others, ask their owner",
        ),
        "openssl-missing": (
            f"{host} has no openssl, which creates the certificate",
            f"install it in the environment, or use your own: {command('secure --certificate FILE --key FILE')}",
        ),
        "write-failed": (
            f"cannot write the password and certificate on {host}: {reply.reason}",
            "check this on the host",
        ),
        "system-error": (
            f"{host} failed: {reply.reason}" + (f": {reply.path}" if reply.path else ""),
            SYSTEM_HINTS.get(reply.code, "check this on the host"),
        ),
        "not-confirmed": (
            f"{host} got no confirmation in time, so the notebook server was not started",
            "run the command again",
        ),
        "exited": (
            f"the notebook server on {host} ended during its start",
            "see the end of its log above",
        ),
        "no-answer": (
            f"the notebook server on {host} does not answer: {reply.reason}",
            f"increase notebook.start_timeout_s, or stop the server: {command('stop --force')}",
        ),
        "kernel-failed": (
            f"a kernel of the {environment_label} on {host} does not work: {reply.reason}",
            "upgrade ipykernel in the environment: pip install --upgrade ipykernel",
        ),
        "still-running": (
            f"the notebook server on {host} (process {reply.pid}) does not exit",
            "ask the administrators of the host to kill it",
        ),
    }.get(reply.problem, (f"the program on {host} failed: {reply.problem} {reply.reason}", ""))
    return RemoteScriptError(reply, message, hint)


def _near_modules(name: str, available: tuple[str, ...]) -> tuple[str, ...]:
    """The other versions of a module, or else the modules with a similar name."""
    names = {module.partition("/")[0] for module in available}
    base = name.partition("/")[0]
    near = [base] if base in names else difflib.get_close_matches(base, names, n=3)
    return tuple(module for module in available if module.partition("/")[0] in near)
