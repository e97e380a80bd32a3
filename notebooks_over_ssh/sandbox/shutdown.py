"""Ends the practice network: the background process, everything that runs in it, its files."""

import errno
import os
import shutil
from pathlib import Path

from notebooks_over_ssh.errors import Failed
from notebooks_over_ssh.sandbox.paths import Place, the_place
from notebooks_over_ssh.sandbox.process_cleanup import end, members
from notebooks_over_ssh.sandbox.start_lock import holding_start_lock
from notebooks_over_ssh.sandbox.state import running


def stop_everything() -> bool:
    """End the practice network and remove all it made; True if there was anything.

    Processes get SIGTERM, and SIGKILL after a few seconds. A second call finds nothing and returns False.
    Raises Failed when a process cannot be ended or a file not removed.
    """
    # Raises when the network runs on another machine, whose folder this is as well.
    running()
    place = the_place()
    there_was_a_folder = os.path.lexists(place.folder)
    if not there_was_a_folder:
        return end(lambda: members(place))
    try:
        with holding_start_lock(place):
            end(lambda: members(place))
            _remove(place)
    except OSError as error:
        raise Failed(
            f"the practice network could not be removed from {place.folder}: {error.strerror or error}",
            hint=f"remove that folder yourself: rm -r '{place.folder}'",
        ) from error
    return True


def _remove(place: Place) -> None:
    # The lock goes last: whoever waits for it then begins anew, in a folder of their own.
    for entry in list(place.folder.iterdir()):
        if entry != place.start_lock:
            _remove_entry(entry)
    place.start_lock.unlink(missing_ok=True)
    try:
        place.folder.rmdir()
        place.folder.parent.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def _remove_entry(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
