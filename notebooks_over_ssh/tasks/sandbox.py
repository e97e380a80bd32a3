"""sandbox.start, sandbox.stop, sandbox.status: the practice network, which `gateway: sandbox` leads to."""

import time

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import SANDBOX
from notebooks_over_ssh.terminal import more, step, working
from notebooks_over_ssh.trust_stores import manager as trusting
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.util.command_hint import command


def start() -> None:
    """Start the practice network, or find it running. Raises Failed."""
    started = time.monotonic()
    with working("sandbox", "starting the practice network"):
        network = sandbox.ensure_running()
    _show(network, started)


def stop() -> None:
    """End the practice network, all that runs in it and every session in it; delete its files. Raises Failed."""
    started = time.monotonic()
    for session in sessions.every_record():
        if session.gateway == SANDBOX:
            tunnels.end(session)
            sessions.forget(session)
    with working("sandbox", "ending the practice network"):
        was_there = sandbox.stop()
    step("sandbox", "stopped, its files are deleted" if was_there else "was not running", started)
    for store in trusting.drop_stale():
        step("sandbox", f"{store} trusts its certificate no longer")


def status() -> None:
    """Print whether the practice network runs, and where."""
    network = sandbox.running()
    if network is None:
        return step("sandbox", f"not running; {command('up')} and {command('sandbox.start')} start it")
    _show(network, None)


def _show(network: sandbox.Network, started: float | None) -> None:
    step("sandbox", f"runs (process {network.pid}), its gateway on 127.0.0.1:{network.gateway_port}", started)
    more(f"hosts {', '.join(network.hosts)}; {network.pool} is the pool of them all")
    more(f"home folder {network.home}; {command('sandbox.stop')} deletes it")
