"""Kerberos, by the package gssapi: the security context of a login with the method gssapi-with-mic (RFC 4462)."""

import contextlib
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.util.duration import describe_duration

METHOD = "gssapi-with-mic"
INTERNET_FAMILIES = (socket.AF_INET, socket.AF_INET6)
KERBEROS_OID = "1.2.840.113554.1.2.2"
KERBEROS_OID_DER = bytes.fromhex("06092a864886f712010202")
"""The mechanism in requests and replies (RFC 4462, section 3.2; RFC 4121)."""
MAX_DETAIL_LENGTH = 200


class GSSAPIOptions(NamedTuple):
    """The options of ssh_config(5) for a hop with `GSSAPIAuthentication yes`; Debian and Fedora have the last three."""

    delegate_credentials: bool = False
    client_identity: str | None = None
    server_identity: str | None = None
    trust_dns: bool = False

    @classmethod
    def parse(cls, get: Callable[[str], str | None]) -> "GSSAPIOptions | None":
        """The options that `ssh -G` prints, None if the method is not to be used. `get` looks one up by its keyword."""
        preferred = get("preferredauthentications")
        if get("gssapiauthentication") not in ("yes", "true") or (
            preferred and METHOD not in preferred.split(",")
        ):
            return None
        return cls(
            delegate_credentials=get("gssapidelegatecredentials") in ("yes", "true"),
            client_identity=get("gssapiclientidentity"),
            server_identity=get("gssapiserveridentity"),
            trust_dns=get("gssapitrustdns") in ("yes", "true"),
        )

    def server_name(self, host: str, sock: Any) -> str:
        """The name in the principal of a hop. With GSSAPITrustDns, that of its address, if it is reached directly."""
        if self.server_identity:
            return self.server_identity
        if self.trust_dns and isinstance(sock, socket.socket) and sock.family in INTERNET_FAMILIES:
            with contextlib.suppress(OSError):  # the address has no name
                return socket.getnameinfo(sock.getpeername(), socket.NI_NAMEREQD)[0].lower()
        return host.lower()


class GSSAPIError(UserError):
    """There is no ticket, or Kerberos refused it; another method may log in."""

    reason: str
    """What to say beside the method's name."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(f"gssapi-with-mic: {reason}", hint=hint)
        self.reason = reason


class Ticket(NamedTuple):
    """The Kerberos ticket of a login."""

    principal: str
    seconds_left: int | None
    """None if it does not end."""
    is_delegated: bool
    """Whether the hop has one now."""

    @property
    def description(self) -> str:
        """The ticket in words."""
        end = "" if self.seconds_left is None else f", which ends in {describe_duration(self.seconds_left)}"
        return f"the Kerberos ticket of {self.principal}{', delegated' if self.is_delegated else ''}{end}"


class SecurityContext:
    """The client's side of a context that authenticates both sides (RFC 2743, section 2.2.1)."""

    ticket: Ticket
    """The user's, which it uses."""

    def __init__(self, host: str, sock: Any, options: GSSAPIOptions) -> None:
        """`sock` is that of the connection to the host. Raises GSSAPIError if there is no ticket."""
        try:
            import gssapi
        except ImportError as error:
            raise GSSAPIError(
                "the Python package gssapi is not installed",
                "pip install 'notebooks-over-ssh[kerberos]'",
            ) from error
        self._failure: type[Exception] = gssapi.raw.GSSError
        flags = gssapi.RequirementFlag.mutual_authentication | gssapi.RequirementFlag.integrity
        if options.delegate_credentials:
            flags |= gssapi.RequirementFlag.delegate_to_peer
        try:
            client = (
                gssapi.Name(options.client_identity, gssapi.NameType.user)
                if options.client_identity
                else None
            )
            credentials = gssapi.Credentials(name=client, usage="initiate")
            self.ticket = Ticket(str(credentials.name), credentials.lifetime, options.delegate_credentials)
            server = gssapi.Name(f"host@{options.server_name(host, sock)}", gssapi.NameType.hostbased_service)
            self._context: Any = gssapi.SecurityContext(
                name=server,
                creds=credentials,
                mech=gssapi.OID.from_int_seq(KERBEROS_OID),
                flags=flags,
                usage="initiate",
            )
        except self._failure as error:
            raise self._error(error) from error

    @property
    def is_complete(self) -> bool:
        """Whether both sides are authenticated."""
        return bool(self._context.complete)

    def step(self, token: bytes | None) -> bytes | None:
        """The next token for the server, given its last; None at the start or end. Raises GSSAPIError."""
        try:
            next_token: bytes | None = self._context.step(token)
        except self._failure as error:
            raise self._error(error) from error
        return next_token

    def sign(self, data: bytes) -> bytes:
        """The message integrity code of the data. Raises GSSAPIError if the context protects no integrity."""
        try:
            signature: bytes = self._context.get_signature(data)
        except self._failure as error:
            raise self._error(error) from error
        return signature

    @staticmethod
    def _error(error: Any) -> GSSAPIError:
        # The status of the mechanism says more than that of GSSAPI ("unspecified failure").
        messages = error.get_all_statuses(error.min_code, False) or [str(error)]
        return GSSAPIError(
            " ".join(messages)[:MAX_DETAIL_LENGTH].lower(), "kinit gets a ticket, klist shows those you have"
        )
