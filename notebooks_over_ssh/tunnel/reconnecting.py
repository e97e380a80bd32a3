"""When it is tried to find a lost way again: soon, at growing intervals, and at once when the gateway answers again."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Literal, Protocol

from notebooks_over_ssh.errors import AuthenticationRefused, CannotConnect, HostKeyRefused, RemoteFailed
from notebooks_over_ssh.jupyter.connecting import may_come_back
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.ssh import connection as ssh
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.tunnel.events import Tell, WaitsForYou
from notebooks_over_ssh.tunnel.keepalive import Probe, Watch
from notebooks_over_ssh.util.command_hint import command

# A pause is this part of the time that has gone by, and nothing is lost for longer than that part more.
PART = 0.25
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
# While the first hop does not answer, it is asked so often, and more seldom in a long outage.
PROBE_EVERY_S = 0.5
PROBE_PART = 0.05
PROBE_SELDOM_S = 5.0


class Remember(Protocol):
    """Writes down what the tunnel does."""

    def __call__(self, state: Literal["open", "reconnecting"], waits_for_you: str = "") -> None: ...


class Search:
    """The search for a way in the place of one that was lost."""

    def __init__(self, old: Watch, session: Session, remember: Remember, tell: Tell) -> None:
        self.has_found = False
        """Whether an attempt found a new way."""
        self._old = old
        self._silent_at = old.heard_at
        self._session = session
        self._remember = remember
        self._tell = tell
        self._began = time.monotonic()
        self._refused = ""
        self._wrong_key = ""

    def attempts(self, asking: Asking, meanwhile: Callable[[], None]) -> Iterator[bool]:
        """Yield whenever it is time for an attempt, and whether a person takes part; end when there is a way.

        Raises RemoteFailed where there can be none any more.
        """
        pause_s = 0.0
        with contextlib.closing(Probe(self._old.connection)) as probe:
            while not self.has_found:
                if self._refused or asking.needs_person:
                    self._wait_for_person(asking, meanwhile)
                    pause_s = 0.0
                else:
                    self._pause(pause_s, probe, meanwhile)
                    pause_s = self._next_pause_s()
                if self._answers():
                    return
                if not may_come_back(self._session.gateway):
                    raise RemoteFailed(
                        "the sandbox has ended, and the tunnel with it",
                        hint=f"{command('up')} starts both again",
                    )
                yield not self._wrong_key

    @contextlib.contextmanager
    def one_attempt(self) -> Iterator[None]:
        """An attempt to find a way is the body; why it found none decides when the next one is made."""
        self._refused = ""
        try:
            yield
        except AuthenticationRefused as problem:
            self._refused, self._wrong_key = str(problem), ""
        except HostKeyRefused as problem:
            # Nothing secret is sent before a key is checked, so this may be tried again without harm.
            if not self._wrong_key:
                self._remember("reconnecting", waits_for_you=str(problem))
                self._tell(WaitsForYou(str(problem)))
            self._wrong_key = str(problem)
        except (CannotConnect, RemoteFailed):
            pass
        else:
            self.has_found = True
            return
        ssh.close_all()

    def _answers(self) -> bool:
        """Whether the lost way is there again by itself."""
        return not self._old.has_ended and self._old.heard_at > self._silent_at

    def _next_pause_s(self) -> float:
        elapsed_s = time.monotonic() - self._began
        pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, elapsed_s * PART))
        # Not all that lost their way at the same moment shall come back at the same moment.
        return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 # it hides nothing

    def _pause(self, pause_s: float, probe: Probe, meanwhile: Callable[[], None]) -> None:
        """Return after the pause, or when the old way answers. A first hop that does not answer is waited for longer."""
        is_down = probe.can_be_tried and not probe.answers()
        until = time.monotonic() + (LONGEST_PAUSE_S if is_down else pause_s)
        while time.monotonic() < until and not self._answers():
            elapsed_s = time.monotonic() - self._began
            every_s = min(PROBE_SELDOM_S, max(PROBE_EVERY_S, elapsed_s * PROBE_PART))
            Event().wait(min(every_s, max(0.0, until - time.monotonic())))
            meanwhile()
            if is_down and probe.answers():
                return

    def _wait_for_person(self, asking: Asking, meanwhile: Callable[[], None]) -> None:
        """Return once a person wants to log in, or the old way answers; where there is nobody, that may be never."""
        why = self._refused or "logging in again needs you"
        self._remember("reconnecting", waits_for_you=why)
        self._tell(WaitsForYou(why))
        if asking.line(f"press enter to log in to {self._session.host} again:") is None:
            while not self._answers():
                Event().wait(PROBE_EVERY_S)
                meanwhile()
        self._remember("reconnecting")
