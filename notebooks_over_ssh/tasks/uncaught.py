"""Exceptions outside of a task: Invoke reads files and variables before it calls one, and catches no errors there."""

import os
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invoke.config import Config


def explain_uncaught() -> None:
    """From now on, report an uncaught exception as an error with a hint and an exit code, without a traceback."""
    sys.excepthook = _report_and_exit


def _report_and_exit(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, Exception):
        return sys.__excepthook__(kind, error, trace)
    from notebooks_over_ssh.tasks.reporting import report

    # Python ends with the code of a SystemExit that the hook raises (Python/pythonrun.c, _PyErr_PrintEx).
    raise SystemExit(report(_find_cause(error)))


def _find_cause(error: Exception) -> Exception:
    """The UserError for an exception of Invoke, found by reading the same files and variables again."""
    from invoke.exceptions import AmbiguousEnvVar, UncastableEnvVar

    from notebooks_over_ssh.config.cli import refuse_remainder
    from notebooks_over_ssh.config.files import find_config_file, read_mapping
    from notebooks_over_ssh.config.sources import file_prefix, project_folder, sources
    from notebooks_over_ssh.errors import ConfigError

    if _was_raised_below(error, "fabric.executor"):
        try:
            refuse_remainder(sys.argv)
        except ConfigError as problem:
            return problem
    config = _config_of(error)
    if config is None:
        return error
    try:
        sources(config)
        folder = project_folder(config)
        if file_prefix(config) == "fabric" and folder is not None:
            path = find_config_file(folder / "fabric")
            read_mapping(path, path.name)
    except ConfigError as problem:
        return problem
    if isinstance(error, AmbiguousEnvVar | UncastableEnvVar) or _was_raised_below(error, "invoke.env"):
        prefix = f"{config.env_prefix or config.prefix.upper()}_"
        names = ", ".join(sorted(name for name in os.environ if name.startswith(prefix)))
        return ConfigError(
            f"Invoke cannot use one of the variables {names}: {error}",
            hint="unset it, and put the setting into ~/.invoke.yaml",
        )
    if isinstance(error, OSError) and isinstance(error.filename, str):
        return ConfigError(
            f"{error.filename} cannot be read: {error.strerror}",
            hint="give the path of a file that you may read",
        )
    return error


def _config_of(error: Exception) -> "Config | None":
    """The configuration of the Program that raised the exception."""
    from invoke.program import Program

    for frame, _ in traceback.walk_tb(error.__traceback__):
        program = frame.f_locals.get("self")
        if isinstance(program, Program):
            return getattr(program, "config", None)
    return None


def _was_raised_below(error: Exception, module: str) -> bool:
    return any(
        frame.f_globals.get("__name__") == module for frame, _ in traceback.walk_tb(error.__traceback__)
    )
