"""Whether a connection still leads anywhere: the far end is asked, and its answer is timed.

TCP itself notices a path that died only when it has something to send, and then after a quarter of an hour.
"""

import time
from dataclasses import dataclass

from fabfile.ssh.connection import Connection

# Who is silent for so long is asked, and has so long to answer.
SILENCE_S = 5.0
PATIENCE_S = 8.0
# A machine that slept, or a process that was stopped, finds that more time went by than it waited.
LOOK_EVERY_S = 1.0
OVERSLEPT_S = 3.0
PATIENCE_AFTER_SLEEP_S = 4.0


@dataclass
class Watch:
    """Looks after one connection."""

    connection: Connection
    _asked_at: float | None = None
    _patience_s: float = PATIENCE_S

    def until_lost(self) -> str:
        """Wait until the connection has ended or does not answer; returns what happened, for the user to read."""
        looked_at = time.time()
        while self.connection.is_connected:
            self.connection.transport.join(LOOK_EVERY_S)  # its thread ends with the connection
            # The clock on the wall goes on while the machine sleeps, where the other one may stop.
            now = time.time()
            if not LOOK_EVERY_S - OVERSLEPT_S < now - looked_at - LOOK_EVERY_S < OVERSLEPT_S:
                self._ask(PATIENCE_AFTER_SLEEP_S)
            looked_at = now
            if self._is_silent():
                return f"{self.connection.label} does not answer any more"
        return f"the connection to {self.connection.label} was lost"

    def _is_silent(self) -> bool:
        now = time.monotonic()
        heard_at = self.connection.transport.packetizer.heard_at
        if self._asked_at is not None:
            if heard_at > self._asked_at:
                self._asked_at = None
            return self._asked_at is not None and now - self._asked_at > self._patience_s
        if now - heard_at > (self.connection.alive_interval_s or SILENCE_S):
            self._ask(PATIENCE_S)
        return False

    def _ask(self, patience_s: float) -> None:
        self._asked_at = time.monotonic()
        self._patience_s = patience_s
        self.connection.transport.ask_for_a_sign()
