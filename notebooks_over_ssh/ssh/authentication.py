"""Proves to a hop who the user is: keys first, then whatever the hop asks for and a person answers (RFC 4252, 4256)."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence

import paramiko
from paramiko.auth_strategy import AuthResult, AuthSource, AuthStrategy

from notebooks_over_ssh.config.schema import SSH
from notebooks_over_ssh.errors import AuthenticationError, ConnectError
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.host_keys import fingerprint
from notebooks_over_ssh.ssh.identities import Identities
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, HopIdentity, account
from notebooks_over_ssh.util.peer_text import prefix_lines, quote

_log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
# A conversation of PAM has a question or two, and a few rounds where a password has to be changed.
MAX_INTERACTIVE_ROUNDS = 16
# RFC 4250, section 4.6.1: printable US-ASCII without commas, at most 64 characters.
METHOD_NAME = re.compile(r"[A-Za-z0-9@._-]{1,64}")
MAX_METHODS_SHOWN = 8
# In seconds.
DISCONNECT_TIMEOUT_S = 1.0
# What PAM asks for the account's password with; anything else may be a code that is good only once.
PASSWORD_PROMPT = re.compile(r"^(\S+'s )?password( for \S+)?:?$", re.IGNORECASE)


class LoginStrategy(AuthStrategy):
    """One login to the hop that is called `label`.

    A hop may want several proofs one after the other (`publickey,keyboard-interactive`). No attempt is made that a person
    did not make: a secret that was refused is never offered again, so that no account is locked.
    """

    def __init__(
        self,
        hop: HopConfig,
        label: str,
        credentials: CredentialPrompter,
        settings: SSH,
        gateway: "LoginStrategy | None" = None,
    ) -> None:
        """`gateway` is the login to the hop through which this one is reached."""
        super().__init__(ssh_config=paramiko.SSHConfig())
        self.gateway = gateway
        self.number: int = gateway.number + 1 if gateway else 0
        self.identity: HopIdentity | None = None
        """The hop as its host key, which was checked, identifies it; None before."""
        self.user = hop.user
        self.account = account(hop.user, label, hop.port)
        self.methods = hop.login_methods
        self.attempts = min(MAX_ATTEMPTS, hop.password_prompts)
        self.identities = Identities(hop, credentials)
        self.shows_banner = hop.shows_banner
        self.credentials = credentials
        self.settings = settings
        self.attempted: list[str] = []
        self.allowed_methods: Sequence[str] = ()
        """What the hop said last that it wants."""

    def get_sources(self) -> Iterator[AuthSource]:
        """None that are tried one after the other: what a hop wants next depends on what it took before."""
        return iter(())

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Log in, or raise AuthenticationError that tells what the hop wanted and what was tried."""
        self.attempted = []
        transport.show_banner = self._show_banner  # type: ignore[attr-defined] # its stubs do not know our subclass
        key = transport.get_remote_server_key()
        self.identity = HopIdentity(self.number, self.user, fingerprint(key))
        self.allowed_methods = ("publickey",)
        keys = self.identities.iter_keys()
        try:
            while self.allowed_methods:
                _log.debug("%s: wants %s", self.account, ", ".join(self.allowed_methods))
                self.allowed_methods = self._try_next_method(transport, self.allowed_methods, keys)
        except AuthenticationError:
            raise
        except (paramiko.SSHException, EOFError) as error:
            has_ended = isinstance(error, EOFError) or not transport.is_active()
            if has_ended:
                # A request that could not be sent is noticed before the farewell is read that says why.
                transport.join(DISCONNECT_TIMEOUT_S)
            reason = getattr(transport, "disconnect_reason", "")
            if has_ended and reason:
                raise self._disconnected_error(reason) from error
            if has_ended:
                raise ConnectError(
                    f"the connection to {self.account} was lost while logging in", hint="run it again"
                ) from error
            # A hop that has had enough names no method any more, which reads as one without a name.
            remaining_methods = [method for method in getattr(error, "allowed_types", ()) if method]
            raise self._refused_error(remaining_methods or self.allowed_methods) from error
        _log.debug("%s: logged in with %s", self.account, ", ".join(self.attempted))
        return AuthResult(strategy=self)

    def _show_banner(self, text: str) -> None:
        if self.shows_banner:
            self.credentials.notice(self.account, prefix_lines(self.account, text))

    def _try_next_method(
        self,
        transport: paramiko.Transport,
        allowed_methods: Sequence[str],
        keys: Iterator[tuple[str, paramiko.PKey]],
    ) -> Sequence[str]:
        """Give one proof of those wanted; returns what is wanted after it, nothing once logged in."""
        if "publickey" in allowed_methods:
            after = self._try_public_keys(transport, keys) if "publickey" in self.methods else None
            if after is not None:
                return after
            allowed_methods = self.allowed_methods = self._query_allowed_methods(transport, allowed_methods)
        if "keyboard-interactive" in allowed_methods and "keyboard-interactive" in self.methods:
            return self._with_retries(transport, self._try_keyboard_interactive)
        if "password" in allowed_methods and "password" in self.methods:
            return self._with_retries(transport, self._try_password)
        raise self._refused_error(allowed_methods)

    def _try_public_keys(
        self, transport: paramiko.Transport, keys: Iterator[tuple[str, paramiko.PKey]]
    ) -> Sequence[str] | None:
        """Offer every key that is left; returns what is wanted instead or after one was taken, None when none was."""
        for name, key in keys:
            self.attempted.append(f"publickey ({name})")
            try:
                return transport.auth_publickey(self.user, key)
            except paramiko.BadAuthenticationType as error:
                return error.allowed_types
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    raise
        return None

    def _query_allowed_methods(
        self, transport: paramiko.Transport, allowed_methods: Sequence[str]
    ) -> Sequence[str]:
        """What the hop takes in the place of a key: at the beginning asked with `none` (RFC 4252, section 5.2)."""
        if list(allowed_methods) != ["publickey"]:
            return allowed_methods
        try:
            return transport.auth_none(self.user) or allowed_methods
        except paramiko.BadAuthenticationType as error:
            return error.allowed_types

    def _with_retries(
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

    def _try_keyboard_interactive(self, transport: paramiko.Transport) -> Sequence[str]:
        self.attempted.append("keyboard-interactive")
        password_prompted = False
        rounds = 0

        def respond(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
            nonlocal password_prompted, rounds
            rounds += 1
            if rounds > MAX_INTERACTIVE_ROUNDS:
                raise self._too_many_rounds_error()
            responses = []
            for prompt, echo in prompts:
                if not echo and PASSWORD_PROMPT.match(prompt.strip()):
                    password_prompted = True
                    responses.append(self._get_password())
                else:
                    responses.append(self._answer(f"{title}\n{instructions}\n{prompt}", echo))
            return responses

        try:
            return transport.auth_interactive(self.user, respond)
        except paramiko.AuthenticationException:
            if password_prompted:
                self._forget_password()
            raise

    def _answer(self, text: str, echo: bool) -> str:
        # The last line is ours, so that whoever reads it knows where the answer goes.
        question = "\n".join([*prefix_lines(self.account, text), f"your answer goes to {self.account}:"])
        answer = self.credentials.ask_otp(question, echo=echo)
        if answer is None:
            raise self._no_answer_error()
        return answer

    def _try_password(self, transport: paramiko.Transport) -> Sequence[str]:
        password = self._get_password()
        self.attempted.append("password")
        try:
            return transport.auth_password(self.user, password, fallback=False)
        except paramiko.AuthenticationException:
            self._forget_password()
            raise

    def _get_password(self) -> str:
        assert self.identity is not None, "a hop is identified before its login begins"
        password = self.credentials.password(
            self.identity,
            f"{self.account} password:",
            earlier_hops=self._earlier_hops() if self.settings.password_for_next_hop else (),
            use_keyring=self.settings.keyring,
        )
        if password is None:
            raise self._no_answer_error()
        return password

    def _forget_password(self) -> None:
        assert self.identity is not None, "a hop is identified before its login begins"
        self.credentials.forget(self.identity)

    def _earlier_hops(self) -> Iterator[HopIdentity]:
        """Those of this route, the nearest to this one first."""
        login = self.gateway
        while login is not None:
            if login.identity is not None:
                yield login.identity
            login = login.gateway

    def _no_answer_error(self) -> AuthenticationError:
        if self.credentials.is_interactive:
            return AuthenticationError(
                f"the question of {self.account} was not answered", hint="run it again, and answer it"
            )
        return AuthenticationError(
            f"{self.account} needs a password or a code, and there is no terminal to ask at",
            hint="run it in a terminal, or set up a key: ssh-keygen, then ssh-copy-id",
        )

    def _disconnected_error(self, reason: str) -> AuthenticationError:
        return AuthenticationError(
            f"{self.account} ended the login: {quote(reason)}; tried: {', '.join(self.attempted)}",
            hint="name the right key: -i FILE, or IdentityFile with IdentitiesOnly yes in ~/.ssh/config",
        )

    def _too_many_rounds_error(self) -> AuthenticationError:
        return AuthenticationError(
            f"{self.account} asked {MAX_INTERACTIVE_ROUNDS} times in one login, and goes on",
            hint="ask who runs it, or set up a key: ssh-keygen, then ssh-copy-id",
        )

    def _refused_error(self, allowed_methods: Sequence[str]) -> AuthenticationError:
        _log.debug("%s: refused, tried %s", self.account, ", ".join(self.attempted) or "nothing")
        allowed_methods = [method for method in allowed_methods if METHOD_NAME.fullmatch(method)][
            :MAX_METHODS_SHOWN
        ]
        attempted = ", ".join([*self.attempted, *self.identities.skipped]) or "nothing, as no key was found"
        return AuthenticationError(
            f"{self.account} refused the login; it wants {' or '.join(allowed_methods) or 'something else'}, tried: {attempted}",
            hint="check the user name (`user:` in invoke.yaml, or user@host) and your keys (-i FILE)",
        )
