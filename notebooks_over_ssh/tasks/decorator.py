"""How a task ends: the Problem that stopped it becomes an error, a hint and an exit code."""

import functools
import logging
import os
import signal
import tempfile
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import fabric
from invoke.exceptions import Exit

from notebooks_over_ssh import debug_log
from notebooks_over_ssh.errors import Failed, Problem, Terminated
from notebooks_over_ssh.terminal import show_problem, warn

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


def task(
    help: dict[str, str] | None = None, **options: Any
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Make a Fabric task of a function: its flags are the function's arguments, with `help` a sentence for each."""

    def make(body: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        check = fabric.task(_check_host_option)
        checked = fabric.task(help=help or {}, pre=[check], **options)
        made: Callable[Parameters, Result] = checked(_told(body))
        return made

    return make


def _told(task: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a Problem in the task end the program with its exit code, and any other error without a traceback.

    SIGTERM ends the task as Ctrl-C does, so that what it holds is given back.
    """

    @functools.wraps(task)
    def body(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            _start_debug_log(task.__name__)
            return task(*args, **kwargs)
        except Problem as problem:
            _log.debug("%s failed: %s: %s", task.__name__, type(problem).__name__, problem)
            show_problem(problem)
            raise Exit(code=problem.exit_code) from problem
        except (Exit, KeyboardInterrupt):
            raise
        except BrokenPipeError as error:
            # Whoever read the output has gone; there is nobody to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise Exit(code=1) from error
        except Exception as error:
            show_problem(_unexpected(error))
            raise Exit(code=1) from error
        finally:
            signal.signal(signal.SIGTERM, before)

    return body


def _start_debug_log(name: str) -> None:
    try:
        debug_log.start()
    except OSError as error:
        warn(f"the debug log {debug_log.path()} cannot be written: {error.strerror}")
    _log.debug("task %s", name)


def _check_host_option(c: Any) -> None:
    """Runs before Fabric makes the Connection of a task, whose errors it would show as tracebacks."""
    from notebooks_over_ssh.config import settings

    try:
        settings.check_host_option(c)
    except Problem as problem:
        show_problem(problem)
        raise Exit(code=problem.exit_code) from problem


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _unexpected(error: Exception) -> Failed:
    with tempfile.NamedTemporaryFile("w", prefix="notebooks-over-ssh-", suffix=".txt", delete=False) as file:
        traceback.print_exception(error, file=file)
    return Failed(
        f"this should not happen: {type(error).__name__}: {error}",
        hint=f"it is a fault of this program; please report it, with {file.name}",
    )
