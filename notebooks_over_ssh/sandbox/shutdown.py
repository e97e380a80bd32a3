"""Ends the practice network: the background process, everything that runs in it, its files."""

import errno
import os
import shutil
from pathlib import Path

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox.paths import SandboxPaths, default_paths
from notebooks_over_ssh.sandbox.process_cleanup import find_processes, terminate_all
from notebooks_over_ssh.sandbox.start_lock import hold_start_lock
from notebooks_over_ssh.sandbox.state import find_running


def stop_everything() -> bool:
    """End the practice network and remove all it made; True if there was anything.

    Processes get SIGTERM, and SIGKILL after a few seconds. A second call finds nothing and returns False.
    Raises TaskError when a process cannot be ended or a file not removed.
    """
    # Raises when the network runs on another machine, whose folder this is as well.
    find_running()
    paths = default_paths()
    existed = os.path.lexists(paths.folder)
    if not existed:
        return terminate_all(lambda: find_processes(paths))
    try:
        with hold_start_lock(paths):
            terminate_all(lambda: find_processes(paths))
            _remove(paths)
    except OSError as error:
        raise TaskError(
            f"the practice network could not be removed from {paths.folder}: {error.strerror or error}",
            hint=f"remove that folder yourself: rm -r '{paths.folder}'",
        ) from error
    return True


def _remove(paths: SandboxPaths) -> None:
    # The lock goes last: whoever waits for it then begins anew, in a folder of their own.
    for entry in list(paths.folder.iterdir()):
        if entry != paths.start_lock:
            _remove_entry(entry)
    paths.start_lock.unlink(missing_ok=True)
    try:
        paths.folder.rmdir()
        paths.folder.parent.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def _remove_entry(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
