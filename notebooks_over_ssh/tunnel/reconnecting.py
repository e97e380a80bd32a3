"""When to try to reconnect: at once, then after growing pauses, and as soon as the first hop answers again."""

import contextlib
import math
import random
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from threading import Event

from notebooks_over_ssh.errors import AuthenticationError, ConnectError, HostKeyError, RemoteError
from notebooks_over_ssh.jupyter.connecting import is_retryable
from notebooks_over_ssh.jupyter.session import AnySession
from notebooks_over_ssh.ssh import connections as ssh
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.tunnel.events import LoginRequired
from notebooks_over_ssh.tunnel.keepalive import KeepaliveMonitor, Probe
from notebooks_over_ssh.tunnel.unresponsive_transports import UnresponsiveTransports
from notebooks_over_ssh.util.command_hint import command

# The pause before an attempt, as a part of the outage so far: the outage grows by no more than that part.
BACKOFF_RATIO = 0.25
INITIAL_BACKOFF_S = 0.5
MAX_BACKOFF_S = 15.0
# How often to probe a first hop that does not answer, and how that interval grows with the outage.
PROBE_INTERVAL_S = 0.5
PROBE_RATIO = 0.05
# A scheduler takes a moment to know that a job has ended.
ATTEMPTS_WITH_LOGIN = 3
MAX_PROBE_INTERVAL_S = 5.0


@dataclass(frozen=True)
class Attempt:
    """It is time for an attempt to connect."""

    host_key_error: str
    """Why the attempt before failed, if the host key was wrong; the user is not prompted for anything then."""


class Reconnector:
    """The attempts to replace one connection that was lost or does not answer."""

    def __init__(
        self,
        monitor: KeepaliveMonitor,
        session: AnySession,
        unresponsive: UnresponsiveTransports | None = None,
        *,
        has_login: bool = False,
    ) -> None:
        """`has_login` is whether the first attempts need no login, as only the last hop was lost."""
        self.succeeded = False
        """Whether an attempt made a new connection."""
        self._monitor = monitor
        self._session = session
        self._unresponsive = unresponsive
        self._attempts_with_login = ATTEMPTS_WITH_LOGIN if has_login else 0
        self._started_at = time.monotonic()
        self._login_error = ""
        self._host_key_error = ""

    @property
    def elapsed_s(self) -> float:
        """For how long the connection has been lost."""
        return time.monotonic() - self._started_at

    def steps(self, credentials: CredentialPrompter) -> Generator[Attempt | LoginRequired]:
        """Yield an Attempt whenever it is time for one, and LoginRequired before waiting for the user.

        Ends when an attempt has succeeded or the old connection answers. Raises RemoteError if there is nothing left to
        connect to.
        """
        backoff_s = 0.0
        with contextlib.closing(Probe(self._monitor.connection)) as probe:
            while not self.succeeded:
                if self._login_error or (credentials.requires_interaction and not self._attempts_with_login):
                    yield LoginRequired(self._login_error or "logging in again needs you")
                    self._wait_for_login(credentials)
                    backoff_s = 0.0
                else:
                    self._wait(backoff_s, probe)
                    backoff_s = self._next_backoff_s()
                if self._is_responsive():
                    return
                if not is_retryable(self._session.gateway):
                    raise RemoteError(
                        "the sandbox has ended, and the tunnel with it",
                        hint=f"{command('up')} starts both again",
                    )
                previous_error = self._host_key_error
                yield Attempt(previous_error)
                if self._host_key_error and not previous_error:
                    yield LoginRequired(self._host_key_error)

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Make the attempt in the body; how it fails decides when the next one is due."""
        self._login_error = ""
        try:
            yield
        except AuthenticationError as error:
            self._login_error, self._host_key_error = str(error), ""
        except HostKeyError as error:
            # Safe to retry: the key is checked before anything secret is sent.
            self._host_key_error = str(error)
        except (ConnectError, RemoteError):
            pass
        else:
            self.succeeded = True
            return
        self._attempts_with_login = max(0, self._attempts_with_login - 1)
        if not self._attempts_with_login:
            ssh.close_all()

    def _is_responsive(self) -> bool:
        """Whether the old connection answers again."""
        return not self._monitor.has_ended and self._monitor.lost_at == math.inf

    def _next_backoff_s(self) -> float:
        backoff_s = min(MAX_BACKOFF_S, max(INITIAL_BACKOFF_S, self.elapsed_s * BACKOFF_RATIO))
        # Jitter: tunnels that were lost at the same moment must not all reconnect at the same moment.
        return backoff_s * random.uniform(0.5, 1.0)  # noqa: S311 # not a secret

    def _wait(self, backoff_s: float, probe: Probe) -> None:
        """Wait for the backoff, or longer while the first hop is down; return early if the old connection answers."""
        is_down = probe.is_possible and not probe.responds()
        deadline = time.monotonic() + (MAX_BACKOFF_S if is_down else backoff_s)
        while time.monotonic() < deadline and not self._is_responsive():
            interval_s = min(MAX_PROBE_INTERVAL_S, max(PROBE_INTERVAL_S, self.elapsed_s * PROBE_RATIO))
            Event().wait(min(interval_s, max(0.0, deadline - time.monotonic())))
            self._close_ended()
            if is_down and probe.responds():
                return

    def _wait_for_login(self, credentials: CredentialPrompter) -> None:
        """Wait for the user to press enter; if the user cannot be prompted, until the old connection answers."""
        if credentials.ask(f"press enter to log in to {self._session.host} again:") is None:
            while not self._is_responsive():
                Event().wait(PROBE_INTERVAL_S)
                self._close_ended()

    def _close_ended(self) -> None:
        if self._unresponsive is not None:
            self._unresponsive.close_ended()
