"""Starts the sandbox for tasks that need a host."""

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.jupyter.connecting import SANDBOX
from notebooks_over_ssh.terminal import print_step, progress
from notebooks_over_ssh.util.command_hint import command


def start_if_needed(gateway: str | None) -> None:
    """Start the sandbox if it is the gateway and not running. Raises TaskError."""
    if gateway != SANDBOX or sandbox.find_running() is not None:
        return
    sandbox.require_packages()
    print_step(
        "sandbox",
        f"starting a gateway and three compute hosts on this machine; {command('sandbox.stop')} stops them",
    )
    with progress("sandbox", "starting"):
        sandbox.ensure_running()
