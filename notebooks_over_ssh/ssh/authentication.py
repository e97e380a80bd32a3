"""Authenticates the user to a hop (RFC 4252): public keys first, then keyboard-interactive (RFC 4256) or password."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import paramiko
from paramiko.auth_strategy import AuthResult, AuthSource, AuthStrategy

from notebooks_over_ssh.config.schema import SSH
from notebooks_over_ssh.errors import AuthenticationError, ConnectError
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.gssapi_context import METHOD as GSSAPI
from notebooks_over_ssh.ssh.gssapi_context import GSSAPIError, GSSAPIOptions, SecurityContext, Ticket
from notebooks_over_ssh.ssh.hardware_key import HardwareKey, NotSignedError
from notebooks_over_ssh.ssh.host_keys import fingerprint
from notebooks_over_ssh.ssh.identities import Identities
from notebooks_over_ssh.ssh.login_errors import (
    describe_attempts,
    disconnected_error,
    no_answer_error,
    refused_error,
    too_many_rounds_error,
)
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, HopIdentity, account
from notebooks_over_ssh.ssh.userauth import UserAuth
from notebooks_over_ssh.util.peer_text import prefix_lines

_log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
# PAM needs one or two rounds, and a few more if the password has expired.
MAX_INTERACTIVE_ROUNDS = 16
DISCONNECT_TIMEOUT_S = 1.0
# PAM's prompts for the account's password; any other answer may be a one-time code.
PASSWORD_PROMPT = re.compile(r"^(\S+'s )?password( for \S+)?:?$", re.IGNORECASE)


class LoginStrategy(AuthStrategy):
    """The login to one hop.

    A hop may require several methods in succession (`publickey,keyboard-interactive`). A password that was refused is
    never sent again, so that repeated failures do not lock the account.
    """

    def __init__(
        self,
        hop: HopConfig,
        label: str,
        credentials: CredentialPrompter,
        settings: SSH,
        gateway: "LoginStrategy | None" = None,
        *,
        is_host: bool = False,
    ) -> None:
        """`label` is the hop's name for messages; `gateway` is the login to the hop before this one.

        `is_host` is whether the route ends at this hop.
        """
        super().__init__(ssh_config=paramiko.SSHConfig())
        self.gateway = gateway
        self.is_host = is_host
        self.position: int = gateway.position + 1 if gateway else 0
        self.identity: HopIdentity | None = None
        """The hop's identity; None until its host key has been verified."""
        self.user = hop.user
        self._hop = hop
        self.ticket: Ticket | None = None
        """The Kerberos ticket that the hop has accepted."""
        self.gssapi_error: GSSAPIError | None = None
        self.account = account(hop.user, label, hop.port)
        self.methods = hop.login_methods
        self.max_attempts = min(MAX_ATTEMPTS, hop.password_prompts)
        self.identities = Identities(hop, credentials)
        self.credentials = credentials
        self.settings = settings
        self.attempted: list[str] = []
        self.allowed_methods: Sequence[str] = ()
        """The methods that can continue, as the hop last listed them (RFC 4252, section 5.1)."""

    def get_sources(self) -> Iterator[AuthSource]:
        """Unused: `authenticate` chooses each method by the reply to the one before."""
        return iter(())

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Log in. Raises AuthenticationError, or ConnectError if the connection is lost."""
        self.attempted = []
        ours: Any = transport  # the stubs omit the attributes of our subclass
        ours.show_banner = self._show_banner
        ours.show_waiting = lambda: self.credentials.show_waiting(self.account)
        key = transport.get_remote_server_key()
        self.identity = HopIdentity(self.position, self.user, fingerprint(key))
        self._gssapi = self._hop.gssapi  # None once it was tried
        self.allowed_methods = ("publickey",) if self._gssapi is None else (GSSAPI, "publickey")
        keys = self.identities.iter_keys()
        try:
            while self.allowed_methods:
                _log.debug("%s: accepts %s", self.account, ", ".join(self.allowed_methods))
                self.allowed_methods = self._try_next_method(transport, self.allowed_methods, keys)
        except AuthenticationError:
            raise
        except (paramiko.SSHException, EOFError) as error:
            has_ended = isinstance(error, EOFError) or not transport.is_active()
            if has_ended:
                # Sending may fail before SSH_MSG_DISCONNECT, which has the reason, has been read.
                transport.join(DISCONNECT_TIMEOUT_S)
            reason = getattr(transport, "disconnect_reason", "")
            if has_ended and reason:
                raise disconnected_error(self.account, reason, self._attempts()) from error
            if has_ended:
                raise ConnectError(
                    f"the connection to {self.account} was lost during login", hint="try again"
                ) from error
            # After too many attempts the list of methods is empty, which parses as one empty name.
            remaining_methods = [method for method in getattr(error, "allowed_types", ()) if method]
            raise self._refused_error(remaining_methods or self.allowed_methods) from error
        _log.debug("%s: logged in with %s", self.account, ", ".join(self.attempted))
        return AuthResult(strategy=self)

    def _show_banner(self, text: str) -> None:
        if self._hop.shows_banner:
            self.credentials.show_banner(self.account, prefix_lines(self.account, text))

    def _try_next_method(
        self,
        transport: paramiko.Transport,
        allowed_methods: Sequence[str],
        keys: Iterator[tuple[str, paramiko.PKey]],
    ) -> Sequence[str]:
        """Try one of the methods; returns the methods that can continue after it, none once logged in."""
        if GSSAPI in allowed_methods and self._gssapi is not None:
            options, self._gssapi = self._gssapi, None  # once in a login
            next_methods = self._try_gssapi(transport, options)
            if next_methods is not None:
                return next_methods
            allowed_methods = [method for method in allowed_methods if method != GSSAPI]
        if "publickey" in allowed_methods:
            next_methods = self._try_public_keys(transport, keys) if "publickey" in self.methods else None
            if next_methods is not None:
                return next_methods
            allowed_methods = self.allowed_methods = self._query_allowed_methods(transport, allowed_methods)
        if "keyboard-interactive" in allowed_methods and "keyboard-interactive" in self.methods:
            return self._with_retries(transport, self._try_keyboard_interactive)
        if "password" in allowed_methods and "password" in self.methods:
            return self._with_retries(transport, self._try_password)
        raise self._refused_error(allowed_methods)

    def _try_gssapi(self, transport: paramiko.Transport, options: GSSAPIOptions) -> Sequence[str] | None:
        """Log in with a ticket; returns the methods that can continue, None if Kerberos or the hop refused it."""
        try:
            context = SecurityContext(self._hop.host, transport.sock, options)
            self.attempted.append(GSSAPI)
            next_methods = _user_auth(transport).auth_gssapi_with_mic(self.user, context)
            self.ticket = context.ticket
            return next_methods
        except GSSAPIError as error:
            _log.debug("%s: %s", self.account, error)
            self.gssapi_error = error
        except paramiko.BadAuthenticationType as error:
            return error.allowed_types
        except paramiko.AuthenticationException:
            if not transport.is_active():
                raise
        return None

    def _try_public_keys(
        self, transport: paramiko.Transport, keys: Iterator[tuple[str, paramiko.PKey]]
    ) -> Sequence[str] | None:
        """Offer the remaining keys until one is accepted; returns the methods that can continue, None if none was."""
        for name, key in keys:
            if isinstance(key, HardwareKey) and key.requires_touch and not self.credentials.is_interactive:
                self.identities.skipped.append(f"{name} (no terminal to ask for its touch)")
                continue
            self.attempted.append(f"publickey ({name})")
            try:
                if isinstance(key, HardwareKey):
                    _user_auth(transport).query_public_key(self.user, key)
                    key.prepare(self.credentials, self.account, name)
                return transport.auth_publickey(self.user, key)
            except NotSignedError as error:
                if isinstance(key, HardwareKey):
                    self.credentials.forget_pin(key.pin_owner)
                self.identities.skipped.append(f"{name} (accepted, but {error})")
            except paramiko.BadAuthenticationType as error:
                return error.allowed_types
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    raise
        return None

    def _query_allowed_methods(
        self, transport: paramiko.Transport, allowed_methods: Sequence[str]
    ) -> Sequence[str]:
        """The methods that can continue; if none is known yet, sends a `none` request (RFC 4252, section 5.2)."""
        if list(allowed_methods) != ["publickey"]:
            return allowed_methods
        try:
            return transport.auth_none(self.user) or allowed_methods
        except paramiko.BadAuthenticationType as error:
            return error.allowed_types

    def _with_retries(
        self, transport: paramiko.Transport, log_in: Callable[[paramiko.Transport], Sequence[str]]
    ) -> Sequence[str]:
        for attempt in range(self.max_attempts):
            try:
                return log_in(transport)
            except paramiko.BadAuthenticationType:
                raise
            except paramiko.AuthenticationException:
                if attempt == self.max_attempts - 1 or not transport.is_active():
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
                raise too_many_rounds_error(self.account, MAX_INTERACTIVE_ROUNDS)
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
        # The last line does not come from the hop, so the hop cannot pretend to be another one.
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
        assert self.identity is not None  # set by authenticate
        password = self.credentials.password(
            self.identity,
            f"{self.account} password:",
            earlier_hops=self._earlier_hops() if self.settings.password_for_next_hop else (),
            use_keyring=self.settings.keyring,
            is_host=self.is_host,
        )
        if password is None:
            raise self._no_answer_error()
        return password

    def _forget_password(self) -> None:
        assert self.identity is not None  # set by authenticate
        self.credentials.forget(self.identity)

    def _earlier_hops(self) -> Iterator[HopIdentity]:
        """The hops of the route before this one, the nearest first."""
        login = self.gateway
        while login is not None:
            if login.identity is not None:
                yield login.identity
            login = login.gateway

    def _no_answer_error(self) -> AuthenticationError:
        return no_answer_error(self.account, is_interactive=self.credentials.is_interactive)

    def _refused_error(self, allowed_methods: Sequence[str]) -> AuthenticationError:
        _log.debug("%s: login refused, tried %s", self.account, ", ".join(self.attempted) or "no method")
        return refused_error(self.account, allowed_methods, self._attempts(), self.gssapi_error)

    def _attempts(self) -> str:
        return describe_attempts(self.attempted, self.identities.skipped, self.methods)


def _user_auth(transport: paramiko.Transport) -> UserAuth:
    """What sends the transport's authentication requests."""
    ours: Any = transport  # the stubs omit ensure_session and the authentication handler
    ours.ensure_session()
    user_auth: UserAuth = ours.auth_handler
    return user_auth
