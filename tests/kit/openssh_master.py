"""OpenSSH's client as a master, whose login other programs use (ControlMaster in ssh_config(5))."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.kit.wait import wait_until


@contextlib.contextmanager
def ssh_master(host: str, config: Path, control_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A master that has logged in to a host of the configuration, with its socket at `control_path`."""
    process = subprocess.Popen(
        ["ssh", "-F", config, "-M", "-N", "-S", control_path, host],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(control_path.exists, f"the master to {host} listens")
        yield process
    finally:
        process.kill()
        process.wait()
        control_path.unlink(missing_ok=True)
