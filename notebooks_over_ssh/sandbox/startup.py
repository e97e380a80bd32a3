"""Starts the practice network's background process, once, and waits until it can be used."""

import importlib.util
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox.paths import MARKER, SandboxPaths, default_paths
from notebooks_over_ssh.sandbox.process_cleanup import find_daemons, terminate_all
from notebooks_over_ssh.sandbox.start_lock import START_TIMEOUT_S, hold_start_lock
from notebooks_over_ssh.sandbox.startup_message import StartupMessage, hint_for
from notebooks_over_ssh.sandbox.state import Network, find_running
from notebooks_over_ssh.util.command_hint import command

_MAX_LOG_BYTES = 1024 * 1024
REQUIRED_PACKAGES = ("asyncssh", "notebook", "jupyter_server", "ipykernel", "matplotlib")
ENV_ALLOWLIST = (
    "HOME",
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
)


def start() -> Network:
    """Start the practice network, unless another process has by the time it is our turn.

    Raises TaskError when it cannot be made.
    """
    _require_packages()
    paths = default_paths()
    try:
        with hold_start_lock(paths):
            network = find_running()
            if network is None:
                # One that lost its record or its folder cannot be found by anybody, and may keep the lock.
                terminate_all(lambda: find_daemons(paths))
                network = _start(paths)
            return network
    except OSError as error:
        raise TaskError(
            f"the practice network could not be made in {paths.folder}: {error.strerror or error}",
            hint=hint_for(error),
        ) from error


def _require_packages() -> None:
    missing = [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise TaskError(
            f"the practice network needs packages that are not installed: {', '.join(missing)}",
            hint="install them with `uv sync --group sandbox`, or set `gateway` in invoke.yaml to your own gateway",
        )


def _start(paths: SandboxPaths) -> Network:
    read_fd, write_fd = os.pipe()
    try:
        log = os.open(paths.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(log).st_size > _MAX_LOG_BYTES:
                os.ftruncate(log, 0)
            launcher = subprocess.run(
                [
                    sys.executable,
                    "-P",
                    "-X",
                    "utf8",
                    str(Path(__file__).with_name("launch.py")),
                    str(paths.folder),
                    str(write_fd),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={
                    **{name: os.environ[name] for name in ENV_ALLOWLIST if name in os.environ},
                    MARKER: str(paths.folder),
                },
                pass_fds=(write_fd,),
                start_new_session=True,
                timeout=START_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TaskError(
                f"Python did not start within {START_TIMEOUT_S:.0f} s",
                hint=f"the end of the practice network's log, {paths.log}, may say why",
            ) from error
        finally:
            os.close(log)
            os.close(write_fd)
        data = _read_to_end(read_fd, START_TIMEOUT_S) if launcher.returncode == 0 else b""
    finally:
        os.close(read_fd)
    try:
        message = msgspec.json.decode(data, type=StartupMessage)
    except msgspec.MsgspecError:
        message = StartupMessage()
    if message.network is not None:
        return message.network
    raise TaskError(
        message.error or "the practice network's background process ended before it could be used",
        hint=message.hint or f"see the end of {paths.log}; {command('sandbox.stop')} ends what is left of it",
        detail=() if message.error else _log_tail(paths.log),
    )


def _read_to_end(descriptor: int, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    content = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(descriptor, 65536)
            if not chunk:
                break
            content += chunk
    return content


def _log_tail(log: Path) -> tuple[str, ...]:
    try:
        return tuple(log.read_text(errors="replace").splitlines()[-12:])
    except OSError:
        return ()
