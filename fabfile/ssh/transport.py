"""The SSH transport as these tasks want it: quick ciphers, no needless round trip, keys that can be checked."""

import threading
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_SERVICE_REQUEST, cMSG_USERAUTH_REQUEST

# AES-GCM needs no separate MAC and runs in hardware; Paramiko would offer it last.
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")


class Transport(paramiko.ServiceRequestingTransport):  # type: ignore[name-defined,misc] # not in the stubs
    """Asks for the authentication service once, and does not wait for the answer: the first login goes with it.

    RFC 4253, section 10, lets a client go on; a server that refuses the service ends the connection.
    """

    def __init__(self, sock: Any, **kwargs: Any) -> None:
        super().__init__(sock, **kwargs)
        self._asked_for_service = False
        self.certificates_first = False
        """Whether the host is asked for a certificate before a plain key; Paramiko puts it last, and it never comes."""
        self.reason_of_end = ""
        """What the peer said when it ended the connection (RFC 4253, section 11.1); "" where the path just broke."""
        options = self.get_security_options()
        options.ciphers = tuple(sorted(options.ciphers, key=lambda cipher: cipher not in CIPHERS))

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The host key algorithms in the order of our wish: those with a certificate first, where one can be checked."""
        keys: tuple[str, ...] = super().preferred_keys
        return (
            tuple(sorted(keys, key=lambda key: "-cert-v01@" not in key)) if self.certificates_first else keys
        )

    def ensure_session(self) -> None:
        """Have the service asked for; what Paramiko does here looks every 0.1 s, and for ever when the peer dies."""
        if not self.active or not self.initial_kex_done:
            raise paramiko.SSHException("the connection has ended")
        if self._asked_for_service is False:
            self._asked_for_service = True
            message = paramiko.Message()
            message.add_byte(cMSG_SERVICE_REQUEST)
            message.add_string("ssh-userauth")
            self._send_message(message)
            self.auth_handler = _OneLogin(self)

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        message.get_int()
        self.reason_of_end = message.get_text()


class _OneLogin(AuthOnlyHandler):
    def send_auth_request(
        self, username: str, method: str, finish_message: Callable[[paramiko.Message], None] | None = None
    ) -> list[str]:
        """Send one request and wait for its answer; returns the methods that are wanted still.

        Paramiko makes the event that the answer sets only after it has sent the request, and may wait for it for ever.
        """
        self.auth_method = method
        self.username = username
        self.auth_event = threading.Event()
        message = paramiko.Message()
        message.add_byte(cMSG_USERAUTH_REQUEST)
        for field in (username, "ssh-connection", method):
            message.add_string(field)
        if finish_message is not None:
            finish_message(message)
        with self.transport.lock:
            self.transport._send_message(message)  # type: ignore[attr-defined] # as Paramiko itself does here
        wanted: list[str] = self.wait_for_response(self.auth_event)
        return wanted
