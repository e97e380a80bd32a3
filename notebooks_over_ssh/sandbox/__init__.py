"""The sandbox: an SSH gateway and a few compute hosts on this machine, to try everything out.

This module is its public interface. It is cheap to import: only the daemon imports asyncssh.
"""

from notebooks_over_ssh.sandbox.state import Network, find_running

__all__ = [
    "Network",
    "describe_queue",
    "ensure_running",
    "find_running",
    "has_processes",
    "require_packages",
    "stop",
]


def ensure_running() -> Network:
    """Start the sandbox if it is not running, and return it once its gateway accepts connections.

    Of several concurrent callers, one starts it and the others wait. Raises TaskError when it cannot be started.
    """
    network = find_running()
    if network is not None:
        return network
    # Slow to import (locks, process tables), and most calls find the sandbox running.
    from notebooks_over_ssh.sandbox.lifecycle import start

    return start()


def describe_queue() -> str:
    """How many jobs the toy queue has."""
    from notebooks_over_ssh.sandbox.paths import default_paths
    from notebooks_over_ssh.sandbox.toy_slurm.queue import read_queue

    jobs = [job for job in read_queue(default_paths()).jobs if not job.ended]
    queued = sum(job.state == "PENDING" for job in jobs)
    return f"{queued} job{'s' * (queued != 1)} queued, {len(jobs) - queued} running"


def has_processes() -> bool:
    """Whether any process of the sandbox exists. Its hosts' processes can outlive a daemon that was killed."""
    from notebooks_over_ssh.sandbox.paths import default_paths
    from notebooks_over_ssh.sandbox.process_cleanup import find_processes

    return bool(find_processes(default_paths()))


def require_packages() -> None:
    """Raise TaskError if a package that the sandbox needs is not installed."""
    from notebooks_over_ssh.sandbox import lifecycle

    lifecycle.require_packages()


def stop() -> bool:
    """Terminate all processes of the sandbox and delete its files; True if there were any.

    Processes get SIGTERM, then SIGKILL after a few seconds. A second call returns False.
    Raises TaskError when a process does not exit or a file cannot be deleted.
    """
    from notebooks_over_ssh.sandbox import lifecycle

    return lifecycle.stop()
