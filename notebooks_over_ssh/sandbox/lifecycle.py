"""Starts and stops the sandbox: its daemon, the processes in it, its files."""

import errno
import importlib.util
import os
import selectors
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import msgspec

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox.paths import MARKER, SandboxPaths, default_paths
from notebooks_over_ssh.sandbox.process_cleanup import find_daemons, find_processes, terminate_all
from notebooks_over_ssh.sandbox.startup_message import StartupMessage, describe_os_error, hint_for
from notebooks_over_ssh.sandbox.state import Network, find_running
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.installation import sandbox_command

START_TIMEOUT_S = 60.0
_MAX_LOG_BYTES = 1024 * 1024
_LOG_TAIL_LINES = 12
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
    """Start the sandbox, unless another process started it in the meantime. Raises TaskError."""
    require_packages()
    paths = default_paths()
    try:
        with _start_lock(paths):
            network = find_running()
            if network is None:
                # A daemon whose state file or folder is gone may still hold the daemon's lock.
                terminate_all(lambda: find_daemons(paths))
                network = _start_daemon(paths)
            return network
    except OSError as error:
        raise TaskError(describe_os_error(error, paths), hint=hint_for(error)) from error


def stop() -> bool:
    """Terminate all processes of the sandbox and delete its files; True if there were any.

    Processes get SIGTERM, then SIGKILL after a few seconds. A second call returns False.
    Raises TaskError when a process does not exit or a file cannot be deleted.
    """
    # Raises TaskError when the sandbox runs on another machine that shares the folder.
    find_running()
    paths = default_paths()
    if not os.path.lexists(paths.folder):
        return terminate_all(lambda: find_processes(paths))
    try:
        with _start_lock(paths):
            terminate_all(lambda: find_processes(paths))
            _delete_files(paths)
    except OSError as error:
        raise TaskError(
            f"the sandbox's folder {paths.folder} could not be deleted: {error.strerror or error}",
            hint=f"delete it yourself: rm -r '{paths.folder}'",
        ) from error
    return True


@contextmanager
def _start_lock(paths: SandboxPaths) -> Iterator[None]:
    """Create the folder, and hold the lock that serializes starts and stops.

    Raises TaskError when the lock is not free within START_TIMEOUT_S, OSError when the folder cannot be created.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    # Outside the loop: where no folder can be created at all, as below /proc, mkdir raises FileNotFoundError too.
    paths.folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(paths.start_lock, mode=0o600)
    while True:
        try:
            _create_folder(paths.folder)
            lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
            break
        except FileNotFoundError:
            # A concurrent stop deleted the folder between the two calls.
            if time.monotonic() > deadline:
                raise
        except filelock.Timeout:
            raise TaskError(
                f"another process has been starting or stopping the sandbox for {START_TIMEOUT_S:.0f} s",
                hint=f"see {paths.log}, end that process and try again",
            ) from None
    try:
        yield
    finally:
        lock.release()


def _create_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
            raise TaskError(
                f"{folder} is not a folder that only you can enter, so private keys are not safe in it",
                hint=f"delete it (rm -r '{folder}') and try again",
            ) from None


def require_packages() -> None:
    """Raise TaskError if a package that the sandbox needs is not installed."""
    missing = [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise TaskError(
            f"the sandbox needs packages that are not installed: {', '.join(missing)}",
            hint=f"install them: `{sandbox_command()}`; or set `gateway` in ~/.invoke.yaml to your own gateway",
        )


def _start_daemon(paths: SandboxPaths) -> Network:
    read_fd, write_fd = os.pipe()
    try:
        exit_code = _launch(paths, write_fd)
        data = _read_until_eof(read_fd, START_TIMEOUT_S) if exit_code == 0 else b""
    finally:
        os.close(read_fd)
    try:
        message = msgspec.json.decode(data, type=StartupMessage)
    except msgspec.MsgspecError:
        message = StartupMessage()
    if message.network is not None:
        return message.network
    raise TaskError(
        message.error or "the sandbox's daemon exited before it was ready",
        hint=message.hint or f"see the end of {paths.log}; {command('sandbox.stop')} cleans up",
        detail=() if message.error else _log_tail(paths.log),
    )


def _launch(paths: SandboxPaths, write_fd: int) -> int:
    """Run launch.py, which forks the daemon, and return its exit code. Closes `write_fd` in this process."""
    try:
        log_fd = os.open(paths.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(log_fd).st_size > _MAX_LOG_BYTES:
                os.ftruncate(log_fd, 0)
            return subprocess.run(
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
                stdout=log_fd,
                stderr=log_fd,
                cwd="/",
                env={
                    **{name: os.environ[name] for name in ENV_ALLOWLIST if name in os.environ},
                    MARKER: str(paths.folder),
                },
                pass_fds=(write_fd,),
                start_new_session=True,
                timeout=START_TIMEOUT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise TaskError(
                f"Python did not start within {START_TIMEOUT_S:.0f} s",
                hint=f"see the end of the sandbox's log, {paths.log}",
            ) from error
        finally:
            os.close(log_fd)
    finally:
        os.close(write_fd)


def _read_until_eof(descriptor: int, timeout_s: float) -> bytes:
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
        return tuple(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
    except OSError:
        return ()


def _delete_files(paths: SandboxPaths) -> None:
    # The lock file goes last: a process that waits for the lock then starts over in a new folder.
    for entry in list(paths.folder.iterdir()):
        if entry == paths.start_lock:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    paths.start_lock.unlink(missing_ok=True)
    try:
        paths.folder.rmdir()
        paths.folder.parent.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
