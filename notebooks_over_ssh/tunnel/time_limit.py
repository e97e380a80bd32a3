"""Warns before the time limit of the server's job."""

import time
from collections.abc import Iterator

from notebooks_over_ssh.jupyter.connecting import job_state
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.ssh.connection import Connection, hops
from notebooks_over_ssh.tunnel.events import TimeLimitNear

WARNINGS_S = (30 * 60, 10 * 60, 2 * 60)


class TimeLimit:
    """The end of a job, by this machine's clock, which goes on while the machine sleeps."""

    def __init__(self, seconds_left: int | None) -> None:
        """None is for no limit."""
        self._ends_at = None if seconds_left is None else time.time() + seconds_left
        self._due = list(WARNINGS_S)

    @classmethod
    def of(cls, session: Session, connection: Connection) -> "TimeLimit":
        """The limit of the session's job, if it has one; `connection` leads to its node. Raises a UserError."""
        if session.job is None:
            return cls(None)
        login = hops(connection)[-2]
        state = job_state(session, login)
        return cls(state.seconds_left if state else None)

    def check(self) -> Iterator[TimeLimitNear]:
        """Yield a warning if one is due; of several that are due, only one."""
        if self._ends_at is None:
            return
        seconds_left = self._ends_at - time.time()
        if self._due and seconds_left <= self._due[0]:
            self._due = [warning for warning in self._due if warning < seconds_left]
            yield TimeLimitNear(max(0.0, seconds_left))
