"""Algorithms that the installed `ssh` may be too old to know, and which ssh_config therefore cannot have excluded."""

import shutil
import subprocess
from functools import cache

# In OpenSSH's default list since it has it, release 9.9.
NEWER_KEX = "mlkem768x25519-sha256"
TIMEOUT_S = 10


def add_newer_kex(printed: str) -> str:
    """KexAlgorithms as `ssh -G` printed it; with NEWER_KEX if it is the default of an `ssh` that does not have that."""
    names = printed.split(",")
    is_too_old = NEWER_KEX not in names and printed == _default_kex(shutil.which("ssh") or "ssh")
    return ",".join([NEWER_KEX, *names]) if is_too_old else printed


@cache
def _default_kex(program: str) -> str:
    """The KexAlgorithms of this `ssh` without any configuration; "" if it does not print them."""
    result = subprocess.run(
        [program, "-F", "none", "-G", "localhost"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=TIMEOUT_S,
        check=False,
    )
    lines = dict(line.partition(" ")[::2] for line in result.stdout.splitlines())
    return lines.get("kexalgorithms", "")
