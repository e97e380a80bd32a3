"""Proves to a hop who the user is: keys first, then whatever the hop asks for and a person answers (RFC 4252, 4256)."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.auth_strategy import AuthResult, AuthSource, AuthStrategy

from fabfile.errors import AuthenticationRefused
from fabfile.ssh.asking import Asking

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
ATTEMPTS = 3


@dataclass(frozen=True)
class Keys:
    """Where to look for keys: files in this order, after those of the agent where it may be asked."""

    files: tuple[Path, ...] = ()
    from_agent: bool = True
    from_home: bool = True


class Login(AuthStrategy):
    """One login of `user` to the hop called `hop`."""

    def __init__(self, user: str, hop: str, keys: Keys, asking: Asking) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self.user = user
        self.hop = f"{user}@{hop}"
        self.keys = keys
        self.asking = asking
        self.tried: list[str] = []

    def get_sources(self) -> Iterator[AuthSource]:
        """None that are tried one after the other: what a hop wants next depends on what it took before."""
        return iter(())

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Log in, or raise AuthenticationRefused that tells what the hop wanted and what was tried."""
        wanted: Sequence[str] = ()
        try:
            wanted = self._with_keys(transport)
            while wanted:
                wanted = self._with_answers(transport, wanted)
        except (paramiko.BadAuthenticationType, paramiko.AuthenticationException) as error:
            raise self._refused(getattr(error, "allowed_types", wanted)) from error
        return AuthResult(strategy=self)

    def _with_keys(self, transport: paramiko.Transport) -> Sequence[str]:
        """Offer every key; returns what is wanted still, nothing once logged in."""
        for name, key in self._every_key():
            self.tried.append(f"publickey ({name})")
            try:
                return transport.auth_publickey(self.user, key)
            except paramiko.BadAuthenticationType as error:
                return error.allowed_types
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    raise
        try:
            return transport.auth_none(self.user)
        except paramiko.BadAuthenticationType as error:
            return error.allowed_types

    def _with_answers(self, transport: paramiko.Transport, wanted: Sequence[str]) -> Sequence[str]:
        """Answer what the hop asks for, as often as a person may err; returns what is wanted still."""
        if "keyboard-interactive" in wanted:
            log_in = self._interactive
        elif "password" in wanted:
            log_in = self._password
        else:
            raise self._refused(wanted)
        for attempt in range(ATTEMPTS):
            try:
                return log_in(transport)
            except paramiko.BadAuthenticationType:
                raise
            except paramiko.AuthenticationException:
                if attempt == ATTEMPTS - 1 or not transport.is_active():
                    raise
        raise AssertionError("the loop returns or raises")

    def _interactive(self, transport: paramiko.Transport) -> Sequence[str]:
        self.tried.append("keyboard-interactive")

        def answers(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
            return [self._answer(prompt.strip(), echo) for prompt, echo in prompts]

        return transport.auth_interactive(self.user, answers)

    def _answer(self, prompt: str, echo: bool) -> str:
        ask = self.asking.line if echo else self.asking.secret_once
        answer = ask(f"{self.hop} {prompt}")
        if answer is None:
            raise self._nobody()
        return answer

    def _password(self, transport: paramiko.Transport) -> Sequence[str]:
        prompt = f"{self.hop} password:"
        password = self.asking.secret(prompt)
        if password is None:
            raise self._nobody()
        self.tried.append("password")
        try:
            return transport.auth_password(self.user, password, fallback=False)
        except paramiko.AuthenticationException:
            self.asking.forget(prompt)
            raise

    def _every_key(self) -> Iterator[tuple[str, paramiko.PKey]]:
        if self.keys.from_agent and os.environ.get("SSH_AUTH_SOCK"):
            for key in paramiko.Agent().get_keys():
                yield f"agent: {key.comment}" if getattr(key, "comment", "") else "agent", key
        files = self.keys.files
        if self.keys.from_home:
            files += tuple(Path.home() / ".ssh" / name for name in DEFAULT_KEYS)
        for file in dict.fromkeys(files):
            if file.is_file():
                key_or_none = self._load(file)
                if key_or_none is not None:
                    yield str(file), key_or_none

    def _load(self, file: Path) -> paramiko.PKey | None:
        try:
            return paramiko.PKey.from_path(file)
        except (TypeError, paramiko.PasswordRequiredException):  # it is encrypted
            prompt = f"passphrase of {file}:"
            passphrase = self.asking.secret(prompt)
            if passphrase is None:
                self.tried.append(f"publickey ({file} is encrypted, and nobody is there to unlock it)")
                return None
            try:
                return paramiko.PKey.from_path(file, passphrase)
            except (ValueError, paramiko.SSHException):
                self.asking.forget(prompt)
                self.tried.append(f"publickey (wrong passphrase for {file})")
                return None
        except (ValueError, OSError, paramiko.SSHException) as error:
            self.tried.append(f"publickey ({file} is unreadable: {error})")
            return None

    def _nobody(self) -> AuthenticationRefused:
        return AuthenticationRefused(
            f"{self.hop} needs a password or a code, and there is no terminal to ask at",
            hint="run it in a terminal, or set up a key: ssh-keygen, then ssh-copy-id",
        )

    def _refused(self, wanted: Sequence[str]) -> AuthenticationRefused:
        return AuthenticationRefused(
            f"{self.hop} refused the login; it wants {' or '.join(wanted) or 'something else'}, "
            f"tried: {', '.join(self.tried) or 'nothing, as no key was found'}",
            hint="check the user name (`user:` in invoke.yaml, or user@host) and your keys (-i FILE)",
        )
