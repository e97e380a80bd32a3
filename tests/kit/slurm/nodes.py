"""What leads to a node of the tests' cluster: its own SSH server, or a node without the program sshd."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.gateway_servers import SshdPerConnection
from tests.kit.machines import Machine
from tests.kit.slurm.configuration import NODES
from tests.kit.slurm.site import SSH_PORT, Site
from tests.kit.sshd import Server, sshd

SYSTEM_KEYS = "/etc/ssh/ssh_host_ed25519_key.pub"
PAM_SLURM = Path("/lib/security/pam_slurm.so")
PAM_RULES = f"auth required pam_deny.so\naccount required {PAM_SLURM}\nsession required pam_permit.so\n"
# Keeps every connection open.
ACCEPT = """
import socket, sys
server = socket.create_server((sys.argv[1], 22))
print("ready", flush=True)
peers = []
while True:
    peers.append(server.accept())
    print("accepted", flush=True)
"""


@contextmanager
def node_sshd(site: Site, name: str, *, is_public: bool = True, needs_job: bool = False) -> Iterator[Server]:
    """An SSH server on port 22 of a node, which only the machines on the cluster's own network reach.

    The users' keys log in there; if `needs_job`, only while the user has a job on the node (pam_slurm). Its host key is
    where users of the node can read it, if `is_public`.
    """
    if needs_job and not PAM_SLURM.exists():
        pytest.skip(f"needs {PAM_SLURM} (libpam-slurm)")
    (node,) = (node for node in NODES if node.name == name)
    machine = site.cluster.nodes[name]
    folder = site.cluster.folder / "node_sshd" / name
    server = SshdPerConnection(
        name,
        folder if not folder.exists() else folder.with_name(f"{name}-{len(list(folder.parent.iterdir()))}"),
        site.keys / "%u",
        "SetEnv LANG=C.UTF-8",
        "AllowTcpForwarding local",
        *(("UsePAM yes",) if needs_job else ()),
        address=node.address,
        listen=machine.network_command(),
        serve=machine.command(),
    )
    server.port = SSH_PORT
    if is_public:
        machine.run("mkdir", "-p", "/etc/ssh")
        machine.run("tee", SYSTEM_KEYS, stdin=f"{server.public_key} root@{name}\n")
    if needs_job:
        machine.run("tee", "/etc/pam.d/sshd", stdin=PAM_RULES)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        machine.run("rm", "-f", SYSTEM_KEYS)


@contextmanager
def without_sshd(machine: Machine) -> Iterator[None]:
    """The machine has no program sshd meanwhile."""
    machine.run("mount", "--bind", "/dev/null", sshd())
    try:
        yield
    finally:
        machine.run("umount", sshd())


@contextmanager
def silent_port(site: Site, name: str) -> Iterator[list[str]]:
    """On port 22 of a node something accepts connections and never sends a byte; yields a line for each of them."""
    (node,) = (node for node in NODES if node.name == name)
    command = [*site.cluster.nodes[name].network_command(), sys.executable, "-c", ACCEPT, node.address]
    lines: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        reader = threading.Thread(target=lines.extend, args=(process.stdout,))
        reader.start()
        try:
            yield lines
        finally:
            process.kill()
            reader.join()
