"""Reports the exception that ends the program: a message for the user, an exit code for scripts."""

import os
import traceback

from notebooks_over_ssh.errors import TaskError, UserError
from notebooks_over_ssh.terminal import print_error


def report(error: Exception) -> int:
    """Print the error and its hint, never a traceback; returns the exit code."""
    if isinstance(error, BrokenPipeError):
        # The reader of the output has exited, so no message would be seen.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    problem = error if isinstance(error, UserError) else _internal_error(error)
    print_error(problem)
    return problem.exit_code


def _internal_error(error: Exception) -> TaskError:
    import tempfile  # slow, and rarely needed

    message = f"internal error: {type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="notebooks-over-ssh-", suffix=".txt", delete=False
        ) as file:
            traceback.print_exception(error, file=file)
    except OSError:  # no temporary directory, or no space in it
        frames = traceback.extract_tb(error.__traceback__)
        return TaskError(
            message,
            hint="this is a bug: please report it with these lines",
            detail=tuple(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames),
        )
    return TaskError(message, hint=f"this is a bug: please report it and attach {file.name}")
