"""Programs on a host that wait, so that something can happen while one of them certainly runs."""

from typing import Self

from tests.kit.sshd import Network
from tests.kit.wait import wait_until

# In place of uname, with which every program of this project that takes any Python begins.
_PAUSE = """\
#!/bin/sh
[ ! -e "$0.paused" ] || : >"$0.started"
while [ -e "$0.paused" ]; do sleep 0.05; done
exec "$0.original" "$@"
"""


class PausedPrograms:
    """Pauses the programs that start on the host until `release`, or the end of the `with` statement."""

    def __init__(self, network: Network) -> None:
        self._program = network.host_bin / "uname"
        self._original = network.host_bin / "uname.original"
        self._paused = network.host_bin / "uname.paused"
        self._started = network.host_bin / "uname.started"

    def __enter__(self) -> Self:
        self._started.unlink(missing_ok=True)
        self._paused.touch()
        if not self._original.exists():
            self._program.rename(self._original)
            self._program.write_text(_PAUSE)
            self._program.chmod(0o755)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def wait_for_start(self) -> None:
        """Wait until a program has started."""
        wait_until(self._started.exists, "a program has started on the host")

    def release(self) -> None:
        """Let all programs go on."""
        self._paused.unlink(missing_ok=True)
