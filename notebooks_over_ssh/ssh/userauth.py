"""The requests of a login (RFC 4252, section 5), each with a time within which it must be answered."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_USERAUTH_INFO_RESPONSE, cMSG_USERAUTH_REQUEST

PUBLICKEY_TIMEOUT_S = 0
# A directory service may be slow to check a password, and so may a person be who confirms a login on a phone.
INTERACTIVE_TIMEOUT_S = 120
# In one message of keyboard-interactive; PAM_MAX_NUM_MSG of Linux-PAM is 32.
MAX_INTERACTIVE_PROMPTS = 32
MAX_INTERACTIVE_TEXT_BYTES = 16 * 1024  # bytes
# Of all banners of one login, in bytes.
BANNER_SIZE = 16 * 1024

# The stubs know little of this class.
_AuthHandler: Any = AuthOnlyHandler


class UserAuth(_AuthHandler):  # type: ignore[misc] # as above
    """Sends one request after the other, and waits for each answer as long as it may take."""

    _deadline = math.inf
    _info_request: paramiko.Message | None = None
    """What the peer asked last (RFC 4256, section 3.2) and got no answer to yet."""
    _banner = b""
    """What came of banners (RFC 4252, section 5.4) and was not shown yet."""
    _banner_room = BANNER_SIZE

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
        self._deadline = self._next_deadline()
        allowed_methods: list[str] = self.wait_for_response(self.auth_event)
        return allowed_methods

    def wait_for_response(self, event: threading.Event) -> list[str]:
        """Wait for the answer to a request; returns the methods that are wanted still. Raises TimeoutError.

        Paramiko waits for its own 30 s and calls that a refusal.
        """
        while True:
            while not event.wait(0.1) and self.transport.is_active():
                if time.monotonic() > self._deadline:
                    raise TimeoutError
            event.clear()
            self._show_banner()
            request, self._info_request = self._info_request, None
            if request is None or not self.transport.is_active():
                break
            # In the thread of the caller, which Ctrl-C reaches, and while the transport's own goes on reading.
            self._deadline = math.inf
            self._respond(request)
            self._deadline = self._next_deadline()
        event.set()
        allowed_methods: list[str] = super().wait_for_response(event)
        return allowed_methods

    def _parse_userauth_banner(self, message: paramiko.Message) -> None:
        text = message.get_binary()[: self._banner_room]
        self._banner_room -= len(text)
        self._banner += text

    def _show_banner(self) -> None:
        """Show it in the thread of the caller, before the question that may follow."""
        banner, self._banner = self._banner, b""
        if banner:
            self.transport.show_banner(banner.decode("utf-8", "replace"))

    def _parse_userauth_info_request(self, message: paramiko.Message) -> None:
        if self.auth_method != "keyboard-interactive":
            raise paramiko.SSHException("a question in a login that is not keyboard-interactive")
        # One that comes before the last was answered takes its place: no more than one is kept.
        self._info_request = message
        self.auth_event.set()

    def _respond(self, request: paramiko.Message) -> None:
        title, instructions, _language = (_text(request) for _ in range(3))
        number = request.get_int()
        if number > MAX_INTERACTIVE_PROMPTS:
            raise paramiko.SSHException(f"{number} questions at once")
        prompts = [(_text(request), request.get_boolean()) for _ in range(number)]
        responses = self.interactive_handler(title, instructions, prompts)
        response = paramiko.Message()
        response.add_byte(cMSG_USERAUTH_INFO_RESPONSE)
        response.add_int(len(responses))
        for response_text in responses:
            response.add_string(response_text)
        with self.transport.lock:
            self.transport._send_message(response)

    def _next_deadline(self) -> float:
        timeout_s: float = (
            PUBLICKEY_TIMEOUT_S if self.auth_method in ("publickey", "none") else INTERACTIVE_TIMEOUT_S
        )
        timeout_s = max(timeout_s, self.transport.auth_timeout_s)
        return time.monotonic() + timeout_s


def _text(message: paramiko.Message) -> str:
    return message.get_binary()[:MAX_INTERACTIVE_TEXT_BYTES].decode("utf-8", "replace")
