"""Proves to a hop who the user is: keys first, then whatever the hop asks for and a person answers (RFC 4252, 4256)."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence

import paramiko
from paramiko.auth_strategy import AuthResult, AuthSource, AuthStrategy

from notebooks_over_ssh.config.schema import SSH
from notebooks_over_ssh.errors import AuthenticationRefused, CannotConnect
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.host_keys import fingerprint
from notebooks_over_ssh.ssh.identities import Identities
from notebooks_over_ssh.ssh.prompting import Asking, HopIdentity, account
from notebooks_over_ssh.util.peer_text import attributed, quoted

_log = logging.getLogger(__name__)

ATTEMPTS = 3
# A conversation of PAM has a question or two, and a few rounds where a password has to be changed.
INTERACTIVE_ROUNDS = 16
# RFC 4250, section 4.6.1: printable US-ASCII without commas, at most 64 characters.
METHOD_NAME = re.compile(r"[A-Za-z0-9@._-]{1,64}")
METHODS_SHOWN = 8
# In seconds.
FAREWELL_TIMEOUT = 1.0
# What PAM asks for the account's password with; anything else may be a code that is good only once.
PASSWORD_PROMPT = re.compile(r"^(\S+'s )?password( for \S+)?:?$", re.IGNORECASE)


class Login(AuthStrategy):
    """One login to the hop that is called `label`.

    A hop may want several proofs one after the other (`publickey,keyboard-interactive`). No attempt is made that a person
    did not make: a secret that was refused is never offered again, so that no account is locked.
    """

    def __init__(
        self,
        hop: HopConfig,
        label: str,
        asking: Asking,
        settings: SSH,
        *,
        gateway: "Login | None" = None,
    ) -> None:
        """`gateway` is the login to the hop through which this one is reached."""
        super().__init__(ssh_config=paramiko.SSHConfig())
        self.gateway = gateway
        self.number: int = gateway.number + 1 if gateway else 0
        self.identity: HopIdentity | None = None
        """The hop as its host key, which was checked, identifies it; None before."""
        self.user = hop.user
        self.who = account(hop.user, label, hop.port)
        self.methods = hop.login_methods
        self.attempts = min(ATTEMPTS, hop.password_prompts)
        self.identities = Identities(hop, asking)
        self.shows_banner = hop.shows_banner
        self.asking = asking
        self.settings = settings
        self.tried: list[str] = []
        self.wanted: Sequence[str] = ()
        """What the hop said last that it wants."""

    def get_sources(self) -> Iterator[AuthSource]:
        """None that are tried one after the other: what a hop wants next depends on what it took before."""
        return iter(())

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Log in, or raise AuthenticationRefused that tells what the hop wanted and what was tried."""
        self.tried = []
        transport.show_banner = self._show_banner  # type: ignore[attr-defined] # its stubs do not know our subclass
        key = transport.get_remote_server_key()
        self.identity = HopIdentity(self.number, self.user, fingerprint(key))
        self.wanted = ("publickey",)
        keys = self.identities.every_key()
        try:
            while self.wanted:
                _log.debug("%s: wants %s", self.who, ", ".join(self.wanted))
                self.wanted = self._next_proof(transport, self.wanted, keys)
        except AuthenticationRefused:
            raise
        except (paramiko.SSHException, EOFError) as error:
            has_ended = isinstance(error, EOFError) or not transport.is_active()
            if has_ended:
                # A request that could not be sent is noticed before the farewell is read that says why.
                transport.join(FAREWELL_TIMEOUT)
            reason = getattr(transport, "reason_of_end", "")
            if has_ended and reason:
                raise self._ended(reason) from error
            if has_ended:
                raise CannotConnect(
                    f"the connection to {self.who} was lost while logging in", hint="run it again"
                ) from error
            # A hop that has had enough names no method any more, which reads as one without a name.
            still_wanted = [method for method in getattr(error, "allowed_types", ()) if method]
            raise self._refused(still_wanted or self.wanted) from error
        _log.debug("%s: logged in with %s", self.who, ", ".join(self.tried))
        return AuthResult(strategy=self)

    def _show_banner(self, text: str) -> None:
        if self.shows_banner:
            self.asking.notice(self.who, attributed(self.who, text))

    def _next_proof(
        self, transport: paramiko.Transport, wanted: Sequence[str], keys: Iterator[tuple[str, paramiko.PKey]]
    ) -> Sequence[str]:
        """Give one proof of those wanted; returns what is wanted after it, nothing once logged in."""
        if "publickey" in wanted:
            after = self._with_keys(transport, keys) if "publickey" in self.methods else None
            if after is not None:
                return after
            wanted = self.wanted = self._wanted_without_keys(transport, wanted)
        if "keyboard-interactive" in wanted and "keyboard-interactive" in self.methods:
            return self._as_often_as_a_person_may(transport, self._interactive)
        if "password" in wanted and "password" in self.methods:
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
        for attempt in range(self.attempts):
            try:
                return log_in(transport)
            except paramiko.BadAuthenticationType:
                raise
            except paramiko.AuthenticationException:
                if attempt == self.attempts - 1 or not transport.is_active():
                    raise
        raise AssertionError("the loop returns or raises")

    def _interactive(self, transport: paramiko.Transport) -> Sequence[str]:
        self.tried.append("keyboard-interactive")
        asked_for_password = False
        rounds = 0

        def answers(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
            nonlocal asked_for_password, rounds
            rounds += 1
            if rounds > INTERACTIVE_ROUNDS:
                raise self._endless()
            given = []
            for prompt, echo in prompts:
                if not echo and PASSWORD_PROMPT.match(prompt.strip()):
                    asked_for_password = True
                    given.append(self._the_password())
                else:
                    given.append(self._answer(f"{title}\n{instructions}\n{prompt}", echo))
            return given

        try:
            return transport.auth_interactive(self.user, answers)
        except paramiko.AuthenticationException:
            if asked_for_password:
                self._forget_password()
            raise

    def _answer(self, asked: str, echo: bool) -> str:
        # The last line is ours, so that whoever reads it knows where the answer goes.
        question = "\n".join([*attributed(self.who, asked), f"your answer goes to {self.who}:"])
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
            self._forget_password()
            raise

    def _the_password(self) -> str:
        assert self.identity is not None, "a hop is identified before its login begins"
        password = self.asking.password(
            self.identity,
            f"{self.who} password:",
            earlier_hops=self._earlier_hops() if self.settings.password_for_next_hop else (),
            keep=self.settings.keyring,
        )
        if password is None:
            raise self._nobody()
        return password

    def _forget_password(self) -> None:
        assert self.identity is not None, "a hop is identified before its login begins"
        self.asking.forget(self.identity)

    def _earlier_hops(self) -> Iterator[HopIdentity]:
        """Those of this route, the nearest to this one first."""
        login = self.gateway
        while login is not None:
            if login.identity is not None:
                yield login.identity
            login = login.gateway

    def _nobody(self) -> AuthenticationRefused:
        if self.asking.is_attended:
            return AuthenticationRefused(
                f"the question of {self.who} was not answered", hint="run it again, and answer it"
            )
        return AuthenticationRefused(
            f"{self.who} needs a password or a code, and there is no terminal to ask at",
            hint="run it in a terminal, or set up a key: ssh-keygen, then ssh-copy-id",
        )

    def _ended(self, reason: str) -> AuthenticationRefused:
        return AuthenticationRefused(
            f"{self.who} ended the login: {quoted(reason)}; tried: {', '.join(self.tried)}",
            hint="name the right key: -i FILE, or IdentityFile with IdentitiesOnly yes in ~/.ssh/config",
        )

    def _endless(self) -> AuthenticationRefused:
        return AuthenticationRefused(
            f"{self.who} asked {INTERACTIVE_ROUNDS} times in one login, and goes on",
            hint="ask who runs it, or set up a key: ssh-keygen, then ssh-copy-id",
        )

    def _refused(self, wanted: Sequence[str]) -> AuthenticationRefused:
        _log.debug("%s: refused, tried %s", self.who, ", ".join(self.tried) or "nothing")
        wanted = [method for method in wanted if METHOD_NAME.fullmatch(method)][:METHODS_SHOWN]
        tried = ", ".join([*self.tried, *self.identities.passed_over]) or "nothing, as no key was found"
        return AuthenticationRefused(
            f"{self.who} refused the login; it wants {' or '.join(wanted) or 'something else'}, tried: {tried}",
            hint="check the user name (`user:` in invoke.yaml, or user@host) and your keys (-i FILE)",
        )
