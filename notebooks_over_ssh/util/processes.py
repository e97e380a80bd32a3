"""Processes of this machine."""

import psutil


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs. A zombie counts as exited."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
