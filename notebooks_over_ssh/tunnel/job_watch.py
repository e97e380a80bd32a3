"""Notices that a job has ended after its server, where the connection to the node outlives the job.

That is so with SSH to the node at a site without pam_slurm_adopt. Every other connection ends with the job.
"""

import time

from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.jupyter.connecting import is_without_machine, job_state
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.ssh.connection import Connection, hops

# The job ends about a second after its server.
FIRST_INTERVAL_S, MAX_INTERVAL_S, BACKOFF = 2.0, 30.0, 2.0


class JobWatch:
    """Queries the job of a session whose server has ended, after pauses that grow."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._interval_s = 0.0
        self._next_at = 0.0

    def has_ended(self, session: Session, connection: Connection) -> bool:
        """Whether the job has ended; asks the scheduler only when that is due. `connection` leads to its node."""
        if session.job is None:
            return False
        now = time.monotonic()
        if session != self._session:
            self._session, self._interval_s = session, FIRST_INTERVAL_S
            self._next_at = now + self._interval_s
        if now < self._next_at:
            return False
        self._interval_s = min(MAX_INTERVAL_S, self._interval_s * BACKOFF)
        self._next_at = now + self._interval_s
        try:
            return is_without_machine(job_state(session, hops(connection)[-2]))
        except UserError:
            return False  # the scheduler does not answer; a lost connection is noticed elsewhere
