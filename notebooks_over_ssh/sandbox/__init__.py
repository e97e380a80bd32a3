"""The practice network: an SSH gateway and a few compute hosts on this machine, for trying everything out.

This is its whole interface. Importing it is cheap; the SSH server is imported only by the background process.
"""

from notebooks_over_ssh.sandbox.state import Network, find_running

__all__ = ["Network", "ensure_running", "find_running", "has_processes", "stop"]


def ensure_running() -> Network:
    """The practice network, started if it does not run. Its gateway accepts connections when this returns.

    Of several callers at once one starts it, and the others wait for that. Raises TaskError when it cannot be made.
    """
    network = find_running()
    if network is not None:
        return network
    # Locks and process tables cost more to import than all the rest, and most calls find the network running.
    from notebooks_over_ssh.sandbox.startup import start

    return start()


def has_processes() -> bool:
    """Whether anything runs in it, which may be so though it does not run itself: its background process may have been killed."""
    from notebooks_over_ssh.sandbox.paths import default_paths
    from notebooks_over_ssh.sandbox.process_cleanup import find_processes

    return bool(find_processes(default_paths()))


def stop() -> bool:
    """End the practice network and everything that runs in it, and remove all it made; True if there was anything.

    Processes get SIGTERM, and SIGKILL some seconds later. A second call finds nothing and returns False.
    Raises TaskError when a process cannot be ended or a file not removed.
    """
    from notebooks_over_ssh.sandbox.shutdown import stop_everything

    return stop_everything()
