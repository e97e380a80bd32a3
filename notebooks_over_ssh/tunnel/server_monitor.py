"""Whether new connections may be led to the port of the session's server: only while it is known to be the server's.

A port is anybody's as soon as its server has ended. So a program on the host watches the server's listening socket and
says at once when it is given up. Where none can run, the server proves itself by its certificate before each connection.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.ssh.background_program import BackgroundProgram

# How long a proof counts while nothing watches.
VERIFICATION_TTL_S = 0.2
VERIFY_INTERVAL_S = 15.0


class ServerMonitor:
    """Watches the server of one session over one connection after another.

    `on_end` is called once when the server has given up its port, `on_verified` when connections may be led there again;
    neither may wait.
    """

    def __init__(self, session: Session, on_end: Callable[[], None], on_verified: Callable[[], None]) -> None:
        self.session = session
        self.end_reason = ""
        """What is known of the server's end; "" as long as it has not ended."""
        self._on_end = on_end
        self._on_verified = on_verified
        self._program: BackgroundProgram | None = None
        self._is_watching = False
        self._verified_at = -math.inf

    def may_connect(self) -> bool:
        """Whether a connection may be led to the server now."""
        if self.end_reason:
            return False
        return self._is_watching or time.monotonic() - self._verified_at < VERIFICATION_TTL_S

    @property
    def needs_verification(self) -> bool:
        """Whether the server has to prove itself again, although nobody wants to go there."""
        return (
            not (self._is_watching or self.end_reason)
            and time.monotonic() - self._verified_at > VERIFY_INTERVAL_S
        )

    def start(self, transport: Any) -> None:
        """Watch through this transport from now on; returns at once."""
        self.stop()
        program = BackgroundProgram(
            transport,
            "watch_server",
            {
                "pid": self.session.pid,
                "process_start": self.session.process_start,
                "port": self.session.remote_port,
            },
            lambda answer: self._on_state(program, answer.get("state")),
            lambda: self._on_state(program, "blind"),
        )
        self._program = program
        program.start()

    def stop(self) -> None:
        """Watch no longer."""
        program, self._program = self._program, None
        self._is_watching = False
        if program is not None:
            program.stop()

    def verified(self) -> None:
        """The server has just proved itself."""
        self._verified_at = time.monotonic()
        self._on_verified()

    def mark_ended(self, reason: str) -> None:
        """The server has given up its port."""
        if not self.end_reason:
            self.end_reason = reason
            self._on_end()

    def _on_state(self, program: BackgroundProgram, state: object) -> None:
        if program is not self._program:
            return
        if state == "ended":
            self.mark_ended(f"the server on {self.session.host} has ended")
        elif state == "watching":
            self._is_watching = True
            self._on_verified()
        else:
            self._is_watching = False
