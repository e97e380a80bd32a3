"""Proves to a hop who the user is: keys first, then whatever the hop asks for and a person answers (RFC 4252, 4256)."""

import re
from collections.abc import Callable, Iterator, Sequence

import paramiko
from paramiko.auth_strategy import AuthResult, AuthSource, AuthStrategy

from fabfile.configuration.schema import Notebook
from fabfile.errors import AuthenticationRefused, CannotConnect
from fabfile.ssh.asking import Asking, account
from fabfile.ssh.client_config import HopConfig
from fabfile.ssh.identities import Identities

ATTEMPTS = 3
# What PAM asks for the account's password with; anything else may be a code that is good only once.
PASSWORD_PROMPT = re.compile(r"^(\S+'s )?password( for \S+)?:?$", re.IGNORECASE)


class Login(AuthStrategy):
    """One login to the hop that is called `label`.

    A hop may want several proofs one after the other (`publickey,keyboard-interactive`). No attempt is made that a person
    did not make: a secret that was refused is never offered again, so that no account is locked.
    """

    def __init__(self, hop: HopConfig, label: str, asking: Asking, settings: Notebook) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self.user = hop.user
        self.who = account(hop.user, label, hop.port)
        self.identities = Identities(hop, asking)
        self.asking = asking
        self.settings = settings
        self.tried: list[str] = []
        self.wanted: Sequence[str] = ()
        """What the hop said last that it wants."""
        self._offered = False

    def get_sources(self) -> Iterator[AuthSource]:
        """None that are tried one after the other: what a hop wants next depends on what it took before."""
        return iter(())

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Log in, or raise AuthenticationRefused that tells what the hop wanted and what was tried."""
        self.tried = []
        self.wanted = ("publickey",)
        keys = self.identities.every_key()
        try:
            while self.wanted:
                self.wanted = self._next_proof(transport, self.wanted, keys)
        except AuthenticationRefused:
            raise
        except (paramiko.SSHException, EOFError) as error:
            reason = getattr(transport, "reason_of_end", "")
            if not transport.is_active() and reason:
                raise self._ended(reason) from error
            if not transport.is_active():
                raise CannotConnect(
                    f"the connection to {self.who} was lost while logging in", hint="run it again"
                ) from error
            # A hop that has had enough names no method any more, which reads as one without a name.
            still_wanted = [method for method in getattr(error, "allowed_types", ()) if method]
            raise self._refused(still_wanted or self.wanted) from error
        return AuthResult(strategy=self)

    def _next_proof(
        self, transport: paramiko.Transport, wanted: Sequence[str], keys: Iterator[tuple[str, paramiko.PKey]]
    ) -> Sequence[str]:
        """Give one proof of those wanted; returns what is wanted after it, nothing once logged in."""
        if "publickey" in wanted:
            after = self._with_keys(transport, keys)
            if after is not None:
                return after
            wanted = self.wanted = self._wanted_without_keys(transport, wanted)
        if "keyboard-interactive" in wanted:
            return self._as_often_as_a_person_may(transport, self._interactive)
        if "password" in wanted:
            return self._as_often_as_a_person_may(transport, self._password)
        raise self._refused(wanted)

    def _with_keys(
        self, transport: paramiko.Transport, keys: Iterator[tuple[str, paramiko.PKey]]
    ) -> Sequence[str] | None:
        """Offer every key that is left; returns what is wanted instead or after one was taken, None when none was."""
        for name, key in keys:
            self.tried.append(f"publickey ({name})")
            try:
                return transport.auth_publickey(self.user, key)
            except paramiko.BadAuthenticationType as error:
                return error.allowed_types
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    raise
        return None

    def _wanted_without_keys(self, transport: paramiko.Transport, wanted: Sequence[str]) -> Sequence[str]:
        """What the hop takes in the place of a key: at the beginning asked with `none` (RFC 4252, section 5.2)."""
        if list(wanted) != ["publickey"]:
            return wanted
        try:
            return transport.auth_none(self.user) or wanted
        except paramiko.BadAuthenticationType as error:
            return error.allowed_types

    def _as_often_as_a_person_may(
        self, transport: paramiko.Transport, log_in: Callable[[paramiko.Transport], Sequence[str]]
    ) -> Sequence[str]:
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
        answered: list[str] = []

        def answers(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
            told = " ".join(part.strip() for part in (title, instructions) if part.strip())
            return [self._answer(told, prompt.strip(), echo, answered) for prompt, echo in prompts]

        try:
            return transport.auth_interactive(self.user, answers)
        except paramiko.AuthenticationException:
            for prompt in answered:
                self.asking.forget(prompt)
            raise

    def _answer(self, told: str, prompt: str, echo: bool, answered: list[str]) -> str:
        if not echo and PASSWORD_PROMPT.match(prompt):
            answered.append(self._prompt)
            return self._the_password()
        question = f"{told}\n{self.who} {prompt}" if told else f"{self.who} {prompt}"
        answer = self.asking.code(question, echo=echo)
        if answer is None:
            raise self._nobody()
        return answer

    def _password(self, transport: paramiko.Transport) -> Sequence[str]:
        password = self._the_password()
        self.tried.append("password")
        try:
            return transport.auth_password(self.user, password, fallback=False)
        except paramiko.AuthenticationException:
            self.asking.forget(self._prompt)
            raise

    @property
    def _prompt(self) -> str:
        return f"{self.who} password:"

    def _the_password(self) -> str:
        others = f"{self.user}@" if self.settings.password_for_next_hop and not self._offered else None
        self._offered = True
        password = self.asking.password(self._prompt, of_another=others, keep=self.settings.keyring)
        if password is None:
            raise self._nobody()
        return password

    def _nobody(self) -> AuthenticationRefused:
        return AuthenticationRefused(
            f"{self.who} needs a password or a code, and there is no terminal to ask at",
            hint="run it in a terminal, or set up a key: ssh-keygen, then ssh-copy-id",
        )

    def _ended(self, reason: str) -> AuthenticationRefused:
        return AuthenticationRefused(
            f"{self.who} ended the login: {reason[:300]}; tried: {', '.join(self.tried)}",
            hint="name the right key: -i FILE, or IdentityFile with IdentitiesOnly yes in ~/.ssh/config",
        )

    def _refused(self, wanted: Sequence[str]) -> AuthenticationRefused:
        tried = ", ".join([*self.tried, *self.identities.passed_over]) or "nothing, as no key was found"
        return AuthenticationRefused(
            f"{self.who} refused the login; it wants {' or '.join(wanted) or 'something else'}, tried: {tried}",
            hint="check the user name (`user:` in invoke.yaml, or user@host) and your keys (-i FILE)",
        )
