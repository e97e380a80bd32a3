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
PROOF_COUNTS_S = 0.2
PROVE_EVERY_S = 15.0


class ServerWatch:
    """Watches the server of one session over one connection after another.

    `ended` is called once when the server has given up its port, `proven` when connections may be led there again;
    neither may wait.
    """

    def __init__(self, session: Session, ended: Callable[[], None], proven: Callable[[], None]) -> None:
        self.session = session
        self.why_ended = ""
        """What is known of the server's end; "" as long as it has not ended."""
        self._ended = ended
        self._proven = proven
        self._program: BackgroundProgram | None = None
        self._is_watching = False
        self._proven_at = -math.inf

    def may_lead(self) -> bool:
        """Whether a connection may be led to the server now."""
        if self.why_ended:
            return False
        return self._is_watching or time.monotonic() - self._proven_at < PROOF_COUNTS_S

    @property
    def needs_proof(self) -> bool:
        """Whether the server has to prove itself again, although nobody wants to go there."""
        return (
            not (self._is_watching or self.why_ended) and time.monotonic() - self._proven_at > PROVE_EVERY_S
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
            lambda answer: self._hear(program, answer.get("state")),
            lambda: self._hear(program, "blind"),
        )
        self._program = program
        program.start()

    def stop(self) -> None:
        """Watch no longer."""
        program, self._program = self._program, None
        self._is_watching = False
        if program is not None:
            program.stop()

    def proved(self) -> None:
        """The server has just proved itself."""
        self._proven_at = time.monotonic()
        self._proven()

    def end(self, why: str) -> None:
        """The server has given up its port."""
        if not self.why_ended:
            self.why_ended = why
            self._ended()

    def _hear(self, program: BackgroundProgram, state: object) -> None:
        if program is not self._program:
            return
        if state == "ended":
            self.end(f"the server on {self.session.host} has ended")
        elif state == "watching":
            self._is_watching = True
            self._proven()
        else:
            self._is_watching = False
