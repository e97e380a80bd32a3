"""The client side of the authentication protocol (RFC 4252), with a timeout for each request."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import MSG_USERAUTH_INFO_REQUEST, cMSG_USERAUTH_INFO_RESPONSE, cMSG_USERAUTH_REQUEST

from notebooks_over_ssh.ssh import gssapi_with_mic
from notebooks_over_ssh.ssh.gssapi_context import METHOD as GSSAPI
from notebooks_over_ssh.ssh.gssapi_context import SecurityContext
from notebooks_over_ssh.ssh.gssapi_with_mic import GSSAPIExchange

# Checking a password with a directory service may take this long.
MIN_PASSWORD_TIMEOUT_S = 120
# The user may have to find the phone first. sshd's own limit is LoginGraceTime in sshd_config(5).
CONFIRMATION_TIMEOUT_S = 600
# PAM itself delays the reply to a wrong password by 2 or 3 s.
WAITING_NOTICE_AFTER_S = 5
# In one SSH_MSG_USERAUTH_INFO_REQUEST; PAM_MAX_NUM_MSG of Linux-PAM is 32.
MAX_INTERACTIVE_PROMPTS = 32
MAX_INTERACTIVE_TEXT_BYTES = 16 * 1024
# All banners of one login together.
MAX_BANNER_BYTES = 16 * 1024

# The stubs omit most of this class.
_AuthHandler: Any = AuthOnlyHandler


class UserAuth(_AuthHandler):  # type: ignore[misc] # as above
    """Sends authentication requests one at a time, and waits for each reply until its timeout."""

    _deadline = math.inf
    _notice_time = math.inf
    """When to say that the hop has not replied to an answer of the user."""
    _request: tuple[int, paramiko.Message] | None = None
    """The hop's last message that requires a reply, and its number, until it is answered."""
    _gssapi_exchange: GSSAPIExchange | None = None
    _queried_key: tuple[str, bytes] | None = None
    """The algorithm and the key of `query_public_key`, while it waits for the reply."""
    _key_accepted = False
    _banner = b""
    """The text of SSH_MSG_USERAUTH_BANNER (RFC 4252, section 5.4) that has not been shown yet."""
    _banner_bytes_left = MAX_BANNER_BYTES

    def send_auth_request(
        self, username: str, method: str, finish_message: Callable[[paramiko.Message], None] | None = None
    ) -> list[str]:
        """Send a request and wait for its reply; returns the methods that can continue, none once logged in.

        Paramiko creates the event that the reply sets only after sending the request, and so may wait for it forever.
        """
        self.auth_method = method
        self.username = username
        self.auth_event = threading.Event()
        self._request = None
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

    def auth_gssapi_with_mic(self, username: str, context: SecurityContext) -> list[str]:
        """Log in with the method gssapi-with-mic; returns as `send_auth_request` does. Raises GSSAPIError."""
        self._gssapi_exchange = GSSAPIExchange(username, self.transport.session_id, context)
        return self.send_auth_request(username, GSSAPI, self._gssapi_exchange.add_mechanisms)

    def wait_for_response(self, event: threading.Event) -> list[str]:
        """Wait for the reply to a request; returns as `send_auth_request` does. Raises TimeoutError.

        Paramiko's method has a fixed timeout of 30 s, and reports it as an authentication failure.
        """
        while True:
            while not event.wait(0.1) and self.transport.is_active():
                if time.monotonic() > self._deadline:
                    raise TimeoutError
                if time.monotonic() > self._notice_time:
                    self._notice_time = math.inf
                    self.transport.show_waiting()
            event.clear()
            self._show_banner()
            request, self._request = self._request, None
            if request is None or not self.transport.is_active():
                break
            # Prompt in this thread: Ctrl-C interrupts it, and the transport's thread keeps reading.
            self._deadline = math.inf
            self._reply(*request)
            self._deadline = self._next_deadline()
            if self.auth_method == "keyboard-interactive":
                self._notice_time = time.monotonic() + WAITING_NOTICE_AFTER_S
        self._notice_time = math.inf
        if self._queried_key is not None and self._key_accepted and self.transport.is_active():
            return []
        event.set()
        allowed_methods: list[str] = super().wait_for_response(event)
        return allowed_methods

    def query_public_key(self, username: str, key: paramiko.PKey) -> None:
        """Ask whether the key would be accepted (RFC 4252, section 7), before its owner has to do something for it.

        Raises as `send_auth_request` does if it would not.
        """
        key_type, blob = self._get_key_type_and_bits(key)
        algorithm = self._finalize_pubkey_algorithm(key_type)
        self._key_accepted = False
        self._queried_key = (algorithm, blob if isinstance(blob, bytes) else blob.asbytes())

        def finish(message: paramiko.Message) -> None:
            message.add_boolean(False)
            for field in (algorithm, blob):
                message.add_string(field)

        try:
            self.send_auth_request(username, "publickey", finish)
        finally:
            self._queried_key = None

    def _parse_userauth_banner(self, message: paramiko.Message) -> None:
        text = message.get_binary()[: self._banner_bytes_left]
        self._banner_bytes_left -= len(text)
        self._banner += text

    def _show_banner(self) -> None:
        """Show the banner in the thread that logs in, before the prompt that may follow."""
        banner, self._banner = self._banner, b""
        if banner:
            self.transport.show_banner(banner.decode("utf-8", "replace"))

    def _parse_userauth_info_request(self, message: paramiko.Message) -> None:
        # SSH_MSG_USERAUTH_PK_OK has the same number.
        if self._queried_key is not None:
            if (message.get_text(), message.get_binary()) != self._queried_key:
                raise paramiko.SSHException("SSH_MSG_USERAUTH_PK_OK for another key")
            self._key_accepted = True
            self.auth_event.set()
            return
        # The numbers from 60 on have a meaning in each method of their own (RFC 4252, section 6).
        if self.auth_method not in ("keyboard-interactive", GSSAPI):
            raise paramiko.SSHException("unexpected SSH_MSG_USERAUTH_INFO_REQUEST")
        self._keep_request(MSG_USERAUTH_INFO_REQUEST, message)

    def _parse_gssapi_token(self, message: paramiko.Message) -> None:
        if self.auth_method != GSSAPI:
            raise paramiko.SSHException("unexpected SSH_MSG_USERAUTH_GSSAPI_TOKEN")
        self._keep_request(gssapi_with_mic.MSG_TOKEN, message)

    def _parse_gssapi_error(self, message: paramiko.Message) -> None:
        """SSH_MSG_USERAUTH_FAILURE follows (RFC 4462, sections 3.8 and 3.9)."""
        if self.auth_method != GSSAPI:
            raise paramiko.SSHException("unexpected SSH_MSG_USERAUTH_GSSAPI_ERROR")

    @property
    def _client_handler_table(self) -> dict[int, Callable[[paramiko.Message], None]]:
        handlers: dict[int, Callable[[paramiko.Message], None]] = super()._client_handler_table
        return handlers | {
            gssapi_with_mic.MSG_TOKEN: self._parse_gssapi_token,
            gssapi_with_mic.MSG_ERROR: self._parse_gssapi_error,
            gssapi_with_mic.MSG_ERRTOK: self._parse_gssapi_error,
        }

    def _keep_request(self, message_type: int, message: paramiko.Message) -> None:
        """Have it answered by the thread that logs in; replaces one that has not been answered."""
        self._request = message_type, message
        self.auth_event.set()

    def _reply(self, message_type: int, request: paramiko.Message) -> None:
        if self._gssapi_exchange is not None and self.auth_method == GSSAPI:
            replies = self._gssapi_exchange.reply(message_type, request)
        else:
            replies = [self._answer_prompts(request)]
        with self.transport.lock:
            for reply in replies:
                self.transport._send_message(reply)

    def _answer_prompts(self, request: paramiko.Message) -> paramiko.Message:
        title, instructions, _language = (_text(request) for _ in range(3))
        number = request.get_int()
        if number > MAX_INTERACTIVE_PROMPTS:
            raise paramiko.SSHException(f"{number} prompts in one SSH_MSG_USERAUTH_INFO_REQUEST")
        prompts = [(_text(request), request.get_boolean()) for _ in range(number)]
        responses = self.interactive_handler(title, instructions, prompts)
        response = paramiko.Message()
        response.add_byte(cMSG_USERAUTH_INFO_RESPONSE)
        response.add_int(len(responses))
        for response_text in responses:
            response.add_string(response_text)
        return response

    def _next_deadline(self) -> float:
        timeout_s: float = self.transport.auth_timeout_s
        if self.auth_method == "keyboard-interactive":
            timeout_s = max(timeout_s, CONFIRMATION_TIMEOUT_S)
        elif self.auth_method == "password":
            timeout_s = max(timeout_s, MIN_PASSWORD_TIMEOUT_S)
        return time.monotonic() + timeout_s


def _text(message: paramiko.Message) -> str:
    return message.get_binary()[:MAX_INTERACTIVE_TEXT_BYTES].decode("utf-8", "replace")
