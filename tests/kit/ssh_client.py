"""A client in this process: fast, and with a record of its prompts."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notebooks_over_ssh.config.schema import SSH, Notebook, Timeouts
from notebooks_over_ssh.config.settings import Settings, parse_destination
from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.connections import close_all, connect
from notebooks_over_ssh.ssh.jump_chain import ConnectTarget
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_certificates import Authority
from tests.kit.sshd import LOOPBACK, Server, make_key

TIMEOUT_S = 10


class Client:
    """A client with a home folder, and a key that its servers accept."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.dot_ssh = self.home / ".ssh"
        self.dot_ssh.mkdir(parents=True, mode=0o700)
        self.known_hosts = self.dot_ssh / "known_hosts"
        self.key = self.dot_ssh / "id_ed25519"
        make_key(self.key)
        self.authorized_keys = folder / "authorized_keys"
        shutil.copy(self.key.with_suffix(".pub"), self.authorized_keys)
        self._servers: list[Server] = []
        patch.setenv("HOME", str(self.home))
        patch.delenv("SSH_AUTH_SOCK", raising=False)

    def server(self, name: str, *options: str, variables: dict[str, str] | None = None) -> Server:
        """Start an sshd that accepts the client's key; `variables` are for its environment."""
        server = Server(name, self.folder / name, self.authorized_keys, *options)
        server.variables = variables or {}
        self._servers.append(server)
        server.start()
        return server

    def close(self) -> None:
        """Close all connections, and stop all servers."""
        close_all()
        for server in self._servers:
            # A running sshd reaps its own children; init may take seconds.
            if server._process is not None:
                server.wait_until_no_clients()
            server.stop()

    def write_known_hosts(self, *lines: str) -> None:
        """Write these lines, and no others, to known_hosts."""
        self.known_hosts.write_text("".join(f"{line}\n" for line in lines))

    def settings(
        self,
        *,
        gateway: str | None = None,
        ssh_config: str | None = None,
        timeout_s: int = TIMEOUT_S,
        **extra: Any,
    ) -> Settings:
        """Settings with these values only; `ssh_config` is the text of a file for -S."""
        if ssh_config is not None:
            path = self.folder / "ssh_config"
            path.write_text(ssh_config)
            extra["ssh_config_path"] = str(path)
        defaults: dict[str, Any] = {
            "user": None, "port": None, "connect_kwargs": {}, "ssh_config_path": None, "load_ssh_configs": True,
            "ssh": SSH(), "notebook": Notebook(), "explicit_host": None,
        }  # fmt: skip
        return Settings(gateway=gateway, timeouts=Timeouts(connect=timeout_s), **(defaults | extra))

    @contextlib.contextmanager
    def connected(
        self, destination: "str | Server", prompter: ScriptedPrompter | None = None, **settings: Any
    ) -> Iterator[Connection]:
        """The open Connection to the destination."""
        name = f"{LOOPBACK}:{destination.port}" if isinstance(destination, Server) else destination
        settings_ = self.settings(**settings)
        try:
            yield connect(
                settings_,
                ConnectTarget(parse_destination(name, "the host")),
                CredentialPrompter(prompter or ScriptedPrompter()),
            )
        finally:
            close_all()

    def connect_error(
        self, destination: "str | Server", prompter: ScriptedPrompter | None = None, **settings: Any
    ) -> UserError | None:
        """The error of connecting to the destination, None if it succeeds."""
        try:
            with self.connected(destination, prompter, **settings):
                return None
        except UserError as connect_error:
            return connect_error

    def expect_error(
        self,
        destination: "str | Server",
        code: int,
        *expected_texts: str,
        prompter: ScriptedPrompter | None = None,
        **settings: Any,
    ) -> UserError:
        """The error of connecting; asserts its exit code, a hint, and these texts."""
        connect_error = self.connect_error(destination, prompter, **settings)
        assert connect_error is not None, "it connected"
        assert connect_error.exit_code == code, f"{connect_error.exit_code}: {connect_error}"
        assert connect_error.hint
        missing = [text for text in expected_texts if text not in str(connect_error)]
        assert not missing, f"missing: {missing}: {connect_error}"
        return connect_error


def certified_host(
    client: Client, authority: Authority, *names: str, kind: str = "ed25519", **options: object
) -> Server:
    """A host with a certificate for its only key."""
    key = client.folder / f"host_{kind}"
    make_key(key, kind=kind)
    certificate = authority.sign(key, *names, **options)  # type: ignore[arg-type]
    server = Server(
        "host", client.folder / "host", client.authorized_keys, f'HostCertificate "{certificate}"'
    )
    server.key = key
    client._servers.append(server)
    server.start()
    return server
