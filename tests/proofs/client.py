"""The way to a host as the steps take it, in this process: quick, and every question that it asks is on record."""

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notebooks_over_ssh.config.schema import SSH, Notebook, Timeouts
from notebooks_over_ssh.config.settings import Settings, parse_place
from notebooks_over_ssh.errors import Problem
from notebooks_over_ssh.ssh.connection import Connection, Destination, close_all, connect
from notebooks_over_ssh.ssh.prompting import Asking
from tests.openssh.network import LOOPBACK, Server, make_key
from tests.proofs.certificates import Authority

TIMEOUT_S = 10


class Person:
    """Gives the answers one after the other, then none: nobody is there, or has gone."""

    is_there = True

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.noticed: list[str] = []

    def line(self, prompt: str) -> str | None:
        """A line, and every question is remembered."""
        self.asked.append(prompt)
        return self.answers.pop(0) if self.answers else None

    secret = line

    def notice(self, lines: Iterable[str]) -> None:
        """What hosts say before a login is remembered."""
        self.noticed += lines


class Client:
    """Somebody with a home folder, a key that `server` makes known, and nothing else."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.dot_ssh = self.home / ".ssh"
        self.dot_ssh.mkdir(parents=True, mode=0o700)
        self.known_hosts = self.dot_ssh / "known_hosts"
        self.key = self.dot_ssh / "id_ed25519"
        make_key(self.key)
        self.authorized = folder / "authorized_keys"
        shutil.copy(self.key.with_suffix(".pub"), self.authorized)
        self._servers: list[Server] = []
        patch.setenv("HOME", str(self.home))
        patch.delenv("SSH_AUTH_SOCK", raising=False)

    def server(self, name: str, *options: str) -> Server:
        """An sshd that runs, and lets the client's key in."""
        server = Server(name, self.folder / name, self.authorized, *options)
        self._servers.append(server)
        server.start()
        return server

    def close(self) -> None:
        """End every connection and every server."""
        close_all()
        for server in self._servers:
            # While it lives it reaps its own children; whoever has them then may take seconds.
            if server._process is not None:
                server.wait_until_alone()
            server.stop()

    def know(self, *lines: str) -> None:
        """Have these lines, and no others, in known_hosts."""
        self.known_hosts.write_text("".join(f"{line}\n" for line in lines))

    def settings(
        self,
        *,
        gateway: str | None = None,
        ssh_config: str | None = None,
        timeout_s: int = TIMEOUT_S,
        notebook: Notebook | None = None,
        **more: Any,
    ) -> Settings:
        """Settings that say only this; `ssh_config` is the text of a file for -S."""
        path = None
        if ssh_config is not None:
            path = self.folder / "ssh_config"
            path.write_text(ssh_config)
        return Settings(
            gateway=gateway,
            user=more.get("user"),
            port=more.get("port"),
            connect_kwargs=more.get("connect_kwargs", {}),
            timeouts=Timeouts(connect=timeout_s),
            ssh_config_path=str(path) if path else more.get("ssh_config_path"),
            load_ssh_configs=more.get("load_ssh_configs", True),
            ssh=more.get("ssh", SSH()),
            notebook=notebook or Notebook(),
            host_given=None,
        )

    @contextlib.contextmanager
    def reached(
        self, place: "str | Server", person: Person | None = None, **settings: Any
    ) -> Iterator[Connection]:
        """The open Connection to the place."""
        name = f"{LOOPBACK}:{place.port}" if isinstance(place, Server) else place
        given = self.settings(**settings)
        try:
            yield connect(given, Destination(parse_place(name, "the host")), Asking(person or Person()))
        finally:
            close_all()

    def problem(self, place: "str | Server", person: Person | None = None, **settings: Any) -> Problem | None:
        """What is in the way to the place, None where it is free."""
        try:
            with self.reached(place, person, **settings):
                return None
        except Problem as problem:
            return problem

    def refusal(
        self, place: "str | Server", code: int, *said: str, person: Person | None = None, **settings: Any
    ) -> Problem:
        """The Problem in the way, after a look that it has the code, a hint, and says all this."""
        problem = self.problem(place, person, **settings)
        assert problem is not None, "nothing was in the way"
        assert problem.exit_code == code, f"{problem.exit_code}: {problem}"
        assert problem.hint
        missing = [text for text in said if text not in str(problem)]
        assert not missing, f"it did not say {missing}: {problem}"
        return problem


def certified(
    client: Client, authority: Authority, *names: str, kind: str = "ed25519", **how: object
) -> Server:
    """A host that shows a certificate for its key, as real ones do beside the plain key; it has no other kind of key."""
    key = client.folder / f"host_{kind}"
    make_key(key, kind=kind)
    certificate = authority.sign(key, *names, **how)  # type: ignore[arg-type]
    server = Server("host", client.folder / "host", client.authorized, f'HostCertificate "{certificate}"')
    server.key = key
    client._servers.append(server)
    server.start()
    return server
