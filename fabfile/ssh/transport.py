"""The SSH transport as these tasks want it: quick ciphers, no needless round trip, keys that can be checked."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import (
    cMSG_CHANNEL_REQUEST,
    cMSG_SERVICE_REQUEST,
    cMSG_USERAUTH_REQUEST,
)

# AES-GCM needs no separate MAC and runs in hardware; Paramiko would offer it last.
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")

MOST_LINES_BEFORE = 1024
KEY_PATIENCE_S = 0
# A directory service may be slow to check a password, and so may a person be who confirms a login on a phone.
PERSON_PATIENCE_S = 120


class Transport(paramiko.ServiceRequestingTransport):  # type: ignore[name-defined,misc] # not in the stubs
    """Asks for the authentication service once, and does not wait for the answer: the first login goes with it.

    RFC 4253, section 10, lets a client go on; a server that refuses the service ends the connection.
    """

    def __init__(self, sock: Any, **kwargs: Any) -> None:
        super().__init__(sock, **kwargs)
        self._asked_for_service = False
        self.answer_timeout_s: float = 10
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

    def _check_banner(self) -> None:
        """Read up to the version: RFC 4253, section 4.2, lets a server say any number of lines before; OpenSSH reads 1024."""
        read = self.packetizer.readline

        def version(timeout: float) -> str:
            for _ in range(MOST_LINES_BEFORE):
                line: str = read(timeout)
                if line.startswith("SSH-"):
                    return line
            raise paramiko.SSHException("it never said its version")

        self.packetizer.readline = version
        super()._check_banner()

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


def request_program(channel: paramiko.Channel, command: str) -> None:
    """Ask for the command to be run in the channel, and do not wait for the answer: input can go with it."""
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("exec")
    message.add_boolean(True)
    message.add_string(command)
    channel.event.clear()
    transport: Any = channel.transport  # its stubs leave out what Channel.exec_command itself calls
    transport._send_user_message(message)


def wait_for_program(channel: paramiko.Channel, timeout_s: float) -> None:
    """Return once the peer has answered what `request_program` asked, or closed the channel. Raises TimeoutError."""
    if not channel.event.wait(timeout_s):
        raise TimeoutError


# The stubs know little of this class.
_AuthHandler: Any = AuthOnlyHandler


class _OneLogin(_AuthHandler):  # type: ignore[misc] # as above
    _deadline = math.inf

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
            self.transport._send_message(message)
        self._deadline = self._soon()
        wanted: list[str] = self.wait_for_response(self.auth_event)
        return wanted

    def wait_for_response(self, event: threading.Event) -> list[str]:
        """Wait for the answer to a request; returns the methods that are wanted still. Raises TimeoutError.

        Paramiko waits for its own 30 s and calls that a refusal.
        """
        while not event.wait(0.1) and self.transport.is_active():
            if time.monotonic() > self._deadline:
                raise TimeoutError
        wanted: list[str] = super().wait_for_response(event)
        return wanted

    def _parse_userauth_info_request(self, message: paramiko.Message) -> None:
        # A person takes as long as it takes, and a code on a phone may be waited for.
        self._deadline = math.inf
        super()._parse_userauth_info_request(message)
        self._deadline = self._soon()

    def _soon(self) -> float:
        patience_s: float = KEY_PATIENCE_S if self.auth_method in ("publickey", "none") else PERSON_PATIENCE_S
        patience_s = max(patience_s, self.transport.answer_timeout_s)
        return time.monotonic() + patience_s
