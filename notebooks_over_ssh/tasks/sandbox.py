"""sandbox.start, sandbox.stop, sandbox.status: the sandbox, which `gateway: sandbox` connects to."""

import time

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import SANDBOX
from notebooks_over_ssh.terminal import print_detail, print_step, progress
from notebooks_over_ssh.trust_stores import manager
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.util.command_hint import command


def start() -> None:
    """Start the sandbox, unless it is running. Raises TaskError."""
    start_time = time.monotonic()
    with progress("sandbox", "starting the sandbox"):
        network = sandbox.ensure_running()
    _show(network, start_time)


def stop() -> None:
    """Stop the sandbox with its processes and sessions, and delete its files. Raises TaskError."""
    start_time = time.monotonic()
    for session in sessions.list_records():
        if session.gateway == SANDBOX:
            tunnels.terminate(session)
            sessions.delete(session)
    with progress("sandbox", "stopping the sandbox"):
        existed = sandbox.stop()
    print_step("sandbox", "stopped, and its files deleted" if existed else "was not running", start_time)
    for store in manager.remove_unused():
        print_step("sandbox", f"removed its certificate from {store}")


def status() -> None:
    """Print whether the sandbox is running, and where."""
    network = sandbox.find_running()
    if network is None:
        return print_step("sandbox", f"not running; {command('up')} and {command('sandbox.start')} start it")
    _show(network, None)


def _show(network: sandbox.Network, start_time: float | None) -> None:
    print_step(
        "sandbox",
        f"running (process {network.pid}), gateway on 127.0.0.1:{network.gateway_port}",
        start_time,
    )
    print_detail(f"hosts {', '.join(network.hosts)}; pool {network.pool}")
    print_detail(
        f"toy Slurm queue: {sandbox.describe_queue()}; {command('up --slurm')} runs a notebook as a job of it"
    )
    print_detail(f"home folder {network.home}; {command('sandbox.stop')} deletes it")
