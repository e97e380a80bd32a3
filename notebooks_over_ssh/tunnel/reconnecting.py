"""When it is tried to find a lost way again: soon, at growing intervals, and at once when the gateway answers again."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Literal, Protocol

from notebooks_over_ssh.errors import AuthenticationError, ConnectError, HostKeyError, RemoteError
from notebooks_over_ssh.jupyter.connecting import is_retryable
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.ssh import connection as ssh
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.tunnel.events import EventHandler, LoginRequired
from notebooks_over_ssh.tunnel.keepalive import KeepaliveMonitor, Probe
from notebooks_over_ssh.util.command_hint import command

# A pause is this part of the time that has gone by, and nothing is lost for longer than that part more.
BACKOFF_RATIO = 0.25
INITIAL_BACKOFF_S = 0.5
MAX_BACKOFF_S = 15.0
# While the first hop does not answer, it is asked so often, and more seldom in a long outage.
PROBE_INTERVAL_S = 0.5
PROBE_RATIO = 0.05
MAX_PROBE_INTERVAL_S = 5.0


class SaveState(Protocol):
    """Writes down what the tunnel does."""

    def __call__(self, state: Literal["open", "reconnecting"], login_required: str = "") -> None: ...


class Reconnector:
    """The search for a way in the place of one that was lost."""

    def __init__(
        self, monitor: KeepaliveMonitor, session: Session, save_state: SaveState, on_event: EventHandler
    ) -> None:
        self.succeeded = False
        """Whether an attempt found a new way."""
        self._monitor = monitor
        self._silent_at = monitor.last_received_at
        self._session = session
        self._save_state = save_state
        self._on_event = on_event
        self._started_at = time.monotonic()
        self._login_error = ""
        self._host_key_error = ""

    def attempts(self, credentials: CredentialPrompter, on_idle: Callable[[], None]) -> Iterator[bool]:
        """Yield whenever it is time for an attempt, and whether a person takes part; end when there is a way.

        Raises RemoteError where there can be none any more.
        """
        backoff_s = 0.0
        with contextlib.closing(Probe(self._monitor.connection)) as probe:
            while not self.succeeded:
                if self._login_error or credentials.requires_interaction:
                    self._wait_for_login(credentials, on_idle)
                    backoff_s = 0.0
                else:
                    self._wait(backoff_s, probe, on_idle)
                    backoff_s = self._next_backoff_s()
                if self._is_responsive():
                    return
                if not is_retryable(self._session.gateway):
                    raise RemoteError(
                        "the sandbox has ended, and the tunnel with it",
                        hint=f"{command('up')} starts both again",
                    )
                yield not self._host_key_error

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """An attempt to find a way is the body; why it found none decides when the next one is made."""
        self._login_error = ""
        try:
            yield
        except AuthenticationError as error:
            self._login_error, self._host_key_error = str(error), ""
        except HostKeyError as error:
            # Nothing secret is sent before a key is checked, so this may be tried again without harm.
            if not self._host_key_error:
                self._save_state("reconnecting", login_required=str(error))
                self._on_event(LoginRequired(str(error)))
            self._host_key_error = str(error)
        except (ConnectError, RemoteError):
            pass
        else:
            self.succeeded = True
            return
        ssh.close_all()

    def _is_responsive(self) -> bool:
        """Whether the lost way is there again by itself."""
        return not self._monitor.has_ended and self._monitor.last_received_at > self._silent_at

    def _next_backoff_s(self) -> float:
        elapsed_s = time.monotonic() - self._started_at
        backoff_s = min(MAX_BACKOFF_S, max(INITIAL_BACKOFF_S, elapsed_s * BACKOFF_RATIO))
        # Not all that lost their way at the same moment shall come back at the same moment.
        return backoff_s * random.uniform(0.5, 1.0)  # noqa: S311 # it hides nothing

    def _wait(self, backoff_s: float, probe: Probe, on_idle: Callable[[], None]) -> None:
        """Return after the pause, or when the old way answers. A first hop that does not answer is waited for longer."""
        is_down = probe.is_possible and not probe.responds()
        deadline = time.monotonic() + (MAX_BACKOFF_S if is_down else backoff_s)
        while time.monotonic() < deadline and not self._is_responsive():
            elapsed_s = time.monotonic() - self._started_at
            interval_s = min(MAX_PROBE_INTERVAL_S, max(PROBE_INTERVAL_S, elapsed_s * PROBE_RATIO))
            Event().wait(min(interval_s, max(0.0, deadline - time.monotonic())))
            on_idle()
            if is_down and probe.responds():
                return

    def _wait_for_login(self, credentials: CredentialPrompter, on_idle: Callable[[], None]) -> None:
        """Return once a person wants to log in, or the old way answers; where there is nobody, that may be never."""
        reason = self._login_error or "logging in again needs you"
        self._save_state("reconnecting", login_required=reason)
        self._on_event(LoginRequired(reason))
        if credentials.ask(f"press enter to log in to {self._session.host} again:") is None:
            while not self._is_responsive():
                Event().wait(PROBE_INTERVAL_S)
                on_idle()
        self._save_state("reconnecting")
