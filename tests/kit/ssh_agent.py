"""An ssh-agent(1) of the test's own."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.kit.cli import run
from tests.kit.wait import TIMEOUT_S


@contextlib.contextmanager
def ssh_agent(folder: Path, *keys: Path) -> Iterator[str]:
    """Run an agent that has the keys, in their order; yields the path of its socket, which is in the folder."""
    path = folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        # It prints the path once it listens.
        process.stdout.readline()
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        for key in keys:
            run("ssh-add", "-q", str(key), env=environment)
        yield str(path)
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
        process.stdout.close()
