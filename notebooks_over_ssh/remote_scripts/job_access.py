"""Lets this client's key into the job's SSH server, which `enter_job.sh` starts for each connection.

Also reports the host keys of the node, by which its own SSH server is known.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os
import re
import time

import slurm
from common import exclusive_lock, reply, write_private

MAX_KEYS_BYTES = 64 * 1024
MAX_NODE_KEYS = 16
PUBLIC_KEY = re.compile(r"([a-z0-9@.-]{1,64}) ([A-Za-z0-9+/]{20,8000}={0,2})(?: .*)?")
POLL_INTERVAL_S = 0.1
# sshd_config(5). sshd runs as the user, who owns the folder: StrictModes would also require that nobody else can write
# to the home folder and those above it, and PAM is for root only.
CONFIG = """\
HostKey "{folder}/host_key"
AuthorizedKeysFile "{pattern}/authorized_keys"
AuthenticationMethods publickey
StrictModes no
UsePAM no
PidFile none
PermitTTY no
X11Forwarding no
AllowAgentForwarding no
AllowStreamLocalForwarding no
AllowTcpForwarding local
PermitOpen localhost:* 127.0.0.1:*
PrintMotd no
LogLevel ERROR
"""


def main(parameters):
    os.umask(0o077)
    folder = slurm.job_folder(parameters["token"])
    if not os.path.isdir(folder):
        return reply(problem="job-folder-missing", path=folder)
    if '"' in folder or "\n" in folder:
        return reply(problem="home-unusable", path=folder)
    with exclusive_lock(folder):
        add_key(
            os.path.join(folder, "authorized_keys"), "restrict,port-forwarding " + parameters["public_key"]
        )
        config = CONFIG.format(folder=folder, pattern=folder.replace("%", "%%"))
        write_private(os.path.join(folder, "sshd_config"), config)
    with open(os.path.join(folder, "host_key.pub")) as file:
        host_key = file.read().split()[1]
    reply(
        problem="",
        config=os.path.join(folder, "sshd_config"),
        host_key=host_key,
        node_keys=read_node_keys(os.path.join(folder, "node_keys"), parameters["node_keys_timeout_s"]),
    )


def read_node_keys(path, timeout_s):
    """Type and base64 of the node's host keys, which node_keys.sh writes to the file as the job starts."""
    deadline = time.time() + timeout_s
    while True:
        try:
            with open(path) as file:
                lines = file.read(MAX_KEYS_BYTES).splitlines()
        except FileNotFoundError:  # the job was submitted by an earlier version
            return []
        if "end" in lines or time.time() > deadline:
            break
        time.sleep(POLL_INTERVAL_S)
    keys = [match.groups() for match in map(PUBLIC_KEY.fullmatch, lines) if match]
    return keys[:MAX_NODE_KEYS]


def add_key(path, line):
    """Add the line to the file, unless it is there."""
    try:
        with open(path) as file:
            lines = file.read(MAX_KEYS_BYTES).splitlines()
    except FileNotFoundError:
        lines = []
    if line not in lines:
        write_private(path, "".join("%s\n" % key for key in lines + [line]))
