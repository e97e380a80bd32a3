"""The SSH server of a step, in place of `sshd -i -f FILE`."""

import re
from pathlib import Path

import asyncssh

from notebooks_over_ssh.sandbox.host import Host
from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.sandbox.process_io import Reaper
from notebooks_over_ssh.sandbox.toy_slurm.options import Parser
from notebooks_over_ssh.sandbox.toy_slurm.queue import Job, Queue, RefusedError

MAX_CONFIG_BYTES = 64 * 1024
_LINE = re.compile(r'\s*(?P<keyword>\w+)\s+"?(?P<value>[^"\n]*)"?\s*')


def make_host(
    arguments: list[str], node: str, variables: dict[str, str], paths: SandboxPaths, reaper: Reaper
) -> Host:
    """The node as sshd's command line and its configuration want it: with their host key and authorized keys.

    Of the configuration only these two take effect. Raises RefusedError.
    """
    parser = Parser("sshd")
    for name in ("-i", "-e", "-D", "-q"):
        parser.flag(name)
    parser.option("-f")
    options = parser.parse_args(arguments)
    if not options.i or not options.f:
        raise RefusedError("the sandbox's toy queue knows only sshd -i -f FILE")
    try:
        with Path(options.f).open(encoding="utf-8") as file:
            matches = map(_LINE.fullmatch, file.read(MAX_CONFIG_BYTES).splitlines())
        values = {match["keyword"].lower(): match["value"] for match in matches if match}
        host_key = asyncssh.read_private_key(values["hostkey"])
        # sshd_config(5), TOKENS: %% is a percent sign.
        keys = asyncssh.read_authorized_keys(values["authorizedkeysfile"].replace("%%", "%"))
    except (OSError, ValueError, KeyError, asyncssh.KeyImportError) as error:
        raise RefusedError(f"{options.f} cannot be used: {error}") from error
    return Host(node, paths, reaper, host_key, keys, variables)


def find_job(queue: Queue, number: str) -> Job:
    """The running job in which sshd was started. Raises RefusedError."""
    job = queue.find(int(number)) if number.isascii() and number.isdigit() else None
    if job is None or job.state != "RUNNING":
        raise RefusedError("the sandbox's toy of sshd runs in a job only")
    return job
