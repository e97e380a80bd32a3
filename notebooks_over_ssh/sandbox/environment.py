"""The environment of the processes on a host of the sandbox."""

import os
import pwd
import shutil
from collections.abc import Mapping

from notebooks_over_ssh.sandbox.paths import MARKER, SandboxPaths

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


def host_environment(name: str, paths: SandboxPaths, variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a login to the host, with more variables. It inherits nothing from the daemon.

    SSH_CONNECTION and SSH_CLIENT are set as by sshd(8), because Debian's bash then reads .bashrc for a single command
    too.
    """
    user = user_name()
    return {
        "HOME": str(paths.home),
        "USER": user,
        "LOGNAME": user,
        "SHELL": shell(),
        "PATH": f"{paths.host_programs(name)}:{_SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        "HOSTNAME": name,
        "SSH_CLIENT": "127.0.0.1 0 22",
        "SSH_CONNECTION": "127.0.0.1 0 127.0.0.1 22",
        MARKER: str(paths.folder),
        **variables,
    }


def shell() -> str:
    """The login shell of the hosts' user."""
    return shutil.which("bash", path=_SYSTEM_PATH) or "/bin/sh"


def user_name() -> str:
    """The name of this user; the number of a user without one."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
