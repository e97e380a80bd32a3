"""The task decorator: runs what the task returns, or its plan; a UserError becomes a message and an exit code."""

import functools
import logging
import sys
from collections.abc import Callable
from typing import Any, ParamSpec

from invoke.exceptions import Exit
from invoke.tasks import task as invoke_task

from notebooks_over_ssh import debug_log
from notebooks_over_ssh.errors import ConfigError, TaskError, Terminated, UserError
from notebooks_over_ssh.tasks.action import Action
from notebooks_over_ssh.tasks.collection_path import collection_path
from notebooks_over_ssh.tasks.interrupts import INTERRUPTED, TERMINATED, raised_in_task
from notebooks_over_ssh.tasks.reporting import report
from notebooks_over_ssh.terminal import print_detail, show_ending, warn
from notebooks_over_ssh.util.command_hint import set_collection

Parameters = ParamSpec("Parameters")

_log = logging.getLogger(__name__)


def task(
    help: dict[str, str] | None = None, **options: Any
) -> Callable[[Callable[Parameters, Action]], Callable[Parameters, None]]:
    """Turn a function into a task. Its arguments become flags; `help` describes each of them.

    The function reads flags and settings, and returns what to do. With `--dry` only the plan of that is printed.
    """

    def decorate(body: Callable[Parameters, Action]) -> Callable[Parameters, None]:
        check = invoke_task(_check_program_options)
        make_task = invoke_task(help=help or {}, pre=[check], **options)
        decorated: Callable[Parameters, None] = make_task(_handle_errors(body))
        return decorated

    return decorate


def _handle_errors(task: Callable[Parameters, Action]) -> Callable[Parameters, None]:
    """Print an error instead of a traceback, and exit with its exit code.

    SIGINT and SIGTERM raise an exception in the task, so that it releases its resources before the program exits.
    """

    @functools.wraps(task)
    def body(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            _require_posix()
            set_collection(collection_path())
            with raised_in_task():
                from notebooks_over_ssh.config import settings

                context: Any = args[0]
                if not settings.is_dry(context):
                    _start_debug_log(task.__name__)
                _perform(task(*args, **kwargs), context, task.__name__)
        except Terminated as error:
            show_ending("terminated")
            raise Exit(code=TERMINATED) from error
        except KeyboardInterrupt as error:
            show_ending("interrupted")
            raise Exit(code=INTERRUPTED) from error
        except Exit:
            raise
        except Exception as error:
            _log.debug("%s failed: %s: %s", task.__name__, type(error).__name__, error)
            raise Exit(code=report(error)) from error

    return body


def _perform(action: Action, context: Any, name: str) -> None:
    from notebooks_over_ssh.config import settings

    if action.foreground and settings.is_one_of_several(context):
        raise ConfigError(
            f"`{name}` runs until Ctrl-C, so it would never get to the second host of -H",
            hint="name one host, or add --detach if the task has it",
        )
    if action.once and not settings.is_first(context):
        return
    if not settings.is_dry(context) or action.plan is None:
        action.run()
    else:
        action.plan()
        print_detail("dry run: nothing was changed, and no host was connected to")


def _require_posix() -> None:
    # Before any import of a module that Python has on POSIX only.
    if sys.platform == "win32":
        raise TaskError(
            "Windows itself is not supported",
            hint="run it in WSL (https://learn.microsoft.com/windows/wsl/install)",
        )


def _start_debug_log(name: str) -> None:
    try:
        debug_log.start()
    except OSError as error:
        warn(f"the debug log {debug_log.path()} cannot be written: {error.strerror}")
    _log.debug("task %s", name)


def _check_program_options(c: Any) -> None:
    """Check -H and the end of the command line before any task runs.

    Fabric creates the task's Connection later, where an error would be a traceback.
    """
    from notebooks_over_ssh.config import cli, settings

    try:
        cli.refuse_remainder(sys.argv)
        settings.check_host_option(c)
    except UserError as error:
        raise Exit(code=report(error)) from error
