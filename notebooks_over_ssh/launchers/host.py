"""Runs the server as a process of the host itself."""

from collections.abc import Generator
from typing import Any

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.launchers.base import Confirm, Job, JobState, Launched, StartEvent
from notebooks_over_ssh.ssh.connection import Connection, host_key
from notebooks_over_ssh.ssh.environment import configured_environment
from notebooks_over_ssh.ssh.remote import run_program

START_MARGIN_S = 30
"""How long activating the environment may take, in addition to `notebook.start_timeout_s`."""


class HostLauncher:
    """The server is a process on the host that the user named."""

    is_local = True

    def start(
        self, login: Connection, settings: Settings, parameters: dict[str, Any], confirm: Confirm
    ) -> Generator[StartEvent, None, Launched]:
        """Start the server on the host. Raises RemoteError or ConnectError."""
        yield from ()  # there is no job
        reply = run_program(
            login,
            "start_server",
            parameters,
            environment=configured_environment(settings.notebook),
            timeout_s=settings.notebook.start_timeout_s + START_MARGIN_S,
            confirm=confirm,
        )
        return Launched(login, reply, host_key(login))

    def state(
        self, login: Connection, job: Job | None, max_age_s: int = 0
    ) -> JobState | None:  # there is no job
        """None: only the server has a state."""
        return None

    def reach(self, login: Connection, job: Job | None, settings: Settings) -> Connection:
        """The host itself."""
        return login

    def examine(self, login: Connection, job: Job | None, settings: Settings) -> tuple[Connection, str]:
        """As `reach`: there is nothing behind the host."""
        return login, "it is the host"

    def stop(self, login: Connection, job: Job | None) -> Job | None:  # as above
        """Does nothing: with its server, everything has ended."""
        return None
