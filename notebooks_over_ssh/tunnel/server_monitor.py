"""Decides whether new connections may go to the server's port: only while the server is known to listen there.

Any user of the host can take the port once the server has ended. A program on the host therefore watches the server's
listening socket and reports at once when it closes. Where no program can run, the server's certificate is verified
before each connection.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.ssh.background_program import BackgroundProgram

# How long a verification counts while no program watches, and how often to verify an idle server then.
VERIFICATION_TTL_S = 0.2
VERIFY_INTERVAL_S = 15.0


class ServerMonitor:
    """Watches the server of one session, over one connection after another.

    It calls `on_end` once, when the server has ended, and `on_verified` whenever connections may go there again.
    Neither may block.
    """

    def __init__(self, session: Session, on_end: Callable[[], None], on_verified: Callable[[], None]) -> None:
        self.session = session
        self.end_reason = ""
        """How the server ended, for the user to read; "" while it runs."""
        self._on_end = on_end
        self._on_verified = on_verified
        self._program: BackgroundProgram | None = None
        self._is_watching = False
        self._verified_at = -math.inf

    def may_connect(self) -> bool:
        """Whether a connection to the server may be opened now."""
        if self.end_reason:
            return False
        return self._is_watching or time.monotonic() - self._verified_at < VERIFICATION_TTL_S

    @property
    def needs_verification(self) -> bool:
        """Whether the server is due for verification even without a new connection."""
        return (
            not (self._is_watching or self.end_reason)
            and time.monotonic() - self._verified_at > VERIFY_INTERVAL_S
        )

    def start(self, transport: Any) -> None:
        """Watch over this transport from now on; returns at once."""
        self.stop()
        program = BackgroundProgram(
            transport,
            "watch_server",
            {
                "pid": self.session.pid,
                "process_start": self.session.process_start,
                "port": self.session.remote_port,
            },
            lambda reply: self._on_state(program, reply.get("state")),
            lambda: self._on_state(program, "blind"),
        )
        self._program = program
        program.start()

    def stop(self) -> None:
        """Stop watching."""
        program, self._program = self._program, None
        self._is_watching = False
        if program is not None:
            program.stop()

    def verified(self, at: float) -> None:
        """Record that the server was verified at this time of time.monotonic()."""
        self._verified_at = at
        self._on_verified()

    def mark_ended(self, reason: str) -> None:
        """Record that the server has ended, or no longer listens on its port."""
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
