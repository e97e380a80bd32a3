"""The SSH transport as these tasks want it: quick ciphers, no needless round trip, keys that can be checked."""

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import (
    MSG_CHANNEL_OPEN_SUCCESS,
    cMSG_GLOBAL_REQUEST,
    cMSG_SERVICE_REQUEST,
    cMSG_USERAUTH_INFO_RESPONSE,
    cMSG_USERAUTH_REQUEST,
)

from fabfile.ssh.wire.carried_packets import CarriedPackets
from fabfile.ssh.wire.carrier import Carrier
from fabfile.ssh.wire.packets import Packets
from fabfile.ssh.wire.streams import LARGEST_DATA, Stream, program_request
from fabfile.ssh.wire.windows import Path

# The length, the padding, a MAC of 64 bytes and the head of a packet of data.
LARGEST_ENVELOPE = 128
# AES-GCM needs no separate MAC and runs in hardware; Paramiko would offer it last.
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")

MOST_LINES_BEFORE = 1024
KEY_PATIENCE_S = 0
# A directory service may be slow to check a password, and so may a person be who confirms a login on a phone.
PERSON_PATIENCE_S = 120
# In one message of keyboard-interactive; PAM_MAX_NUM_MSG of Linux-PAM is 32.
INTERACTIVE_PROMPTS = 32
INTERACTIVE_TEXT_SIZE = 16 * 1024  # bytes


class Transport(paramiko.ServiceRequestingTransport):  # type: ignore[name-defined,misc] # not in the stubs
    """Asks for the authentication service once, and does not wait for the answer: the first login goes with it.

    RFC 4253, section 10, lets a client go on; a server that refuses the service ends the connection.
    """

    def __init__(self, sock: Any, **kwargs: Any) -> None:
        inside = sock if isinstance(sock, Carrier) else None
        super().__init__(sock, packetizer_class=CarriedPackets if inside else Packets, **kwargs)
        self.packetizer.at_once = self._take_for_stream
        self.packetizer.may_send = self.clear_to_send.is_set
        self.path = Path(inside.window if inside else None)
        self.largest_data = min(LARGEST_DATA, inside.largest - LARGEST_ENVELOPE) if inside else LARGEST_DATA
        """The most bytes of a stream in one packet: with all around it, it fits one packet of what carries it."""
        self._streams: dict[int, Stream] = {}
        self._asked_for_service = False
        self.answer_timeout_s: float = 10
        self.certificates_first = False
        """Whether the host is asked for a certificate before a plain key; Paramiko puts it last, and it never comes."""
        self.unwanted_keys: frozenset[str] = frozenset()
        """The host key algorithms that are not asked for, with a certificate or without."""
        self.reason_of_end = ""
        """What the peer said when it ended the connection (RFC 4253, section 11.1); "" where the path just broke."""
        options = self.get_security_options()
        options.ciphers = tuple(sorted(options.ciphers, key=lambda cipher: cipher not in CIPHERS))

    def add(self, stream: Stream) -> None:
        """Give the stream its number. Raises SSHException when the connection has ended."""
        with self.lock:
            stream.number = self._next_channel()
            self._streams[stream.number] = stream
        if not self.active:
            self.remove(stream)
            raise paramiko.SSHException("the connection has ended")

    def remove(self, stream: Stream) -> None:
        """Nothing more comes for the stream."""
        self._streams.pop(stream.number, None)

    def ask_for_a_sign(self) -> None:
        """Send what every server answers, and do not wait: `packetizer.heard_at` tells when it did.

        OpenSSH's ssh asks the same for ServerAliveInterval. It is sent by the transport's own thread, as the one that
        asks must not wait for a network that takes nothing.
        """
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        self.packetizer.later(partial(self._send_user_message, message))

    def run(self) -> None:
        """Read packets until the end, and let every stream know that it came."""
        try:
            super().run()
        finally:
            for stream in list(self._streams.values()):
                stream.drop()

    def _send_user_message(self, data: paramiko.Message) -> None:
        with self.clear_to_send_lock:
            if self.active and self.clear_to_send.is_set():
                self._send_message(data)
                return
        # Keys are being exchanged: what Paramiko does waits for them.
        super()._send_user_message(data)

    def _next_channel(self) -> int:
        number: int = super()._next_channel()
        while number in self._streams:
            number = super()._next_channel()
        return number

    def _take_for_stream(self, kind: int, payload: memoryview) -> bool:
        # While keys are exchanged, the transport itself has to say what may come.
        if kind < MSG_CHANNEL_OPEN_SUCCESS or len(payload) < 5 or self._expected_packet:
            return False
        stream = self._streams.get(int.from_bytes(payload[1:5], "big"))
        return stream is not None and stream.take(kind, payload)

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The host key algorithms in the order of our wish: those with a certificate first, where one can be checked."""
        keys = tuple(key for key in super().preferred_keys if key not in self.unwanted_keys)
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
    channel.event.clear()
    transport: Any = channel.transport  # its stubs leave out what Channel.exec_command itself calls
    transport._send_user_message(program_request(channel.remote_chanid, command, wants_answer=True))


def wait_for_program(channel: paramiko.Channel, timeout_s: float) -> None:
    """Return once the peer has answered what `request_program` asked, or closed the channel. Raises TimeoutError."""
    if not channel.event.wait(timeout_s):
        raise TimeoutError


# The stubs know little of this class.
_AuthHandler: Any = AuthOnlyHandler


class _OneLogin(_AuthHandler):  # type: ignore[misc] # as above
    _deadline = math.inf
    _question: paramiko.Message | None = None
    """What the peer asked last (RFC 4256, section 3.2) and got no answer to yet."""

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
        while True:
            while not event.wait(0.1) and self.transport.is_active():
                if time.monotonic() > self._deadline:
                    raise TimeoutError
            event.clear()
            question, self._question = self._question, None
            if question is None or not self.transport.is_active():
                break
            # In the thread of the caller, which Ctrl-C reaches, and while the transport's own goes on reading.
            self._deadline = math.inf
            self._answer(question)
            self._deadline = self._soon()
        event.set()
        wanted: list[str] = super().wait_for_response(event)
        return wanted

    def _parse_userauth_info_request(self, message: paramiko.Message) -> None:
        if self.auth_method != "keyboard-interactive":
            raise paramiko.SSHException("a question in a login that is not keyboard-interactive")
        # One that comes before the last was answered takes its place: no more than one is kept.
        self._question = message
        self.auth_event.set()

    def _answer(self, question: paramiko.Message) -> None:
        title, instructions, _language = (_text(question) for _ in range(3))
        number = question.get_int()
        if number > INTERACTIVE_PROMPTS:
            raise paramiko.SSHException(f"{number} questions at once")
        prompts = [(_text(question), question.get_boolean()) for _ in range(number)]
        answers = self.interactive_handler(title, instructions, prompts)
        response = paramiko.Message()
        response.add_byte(cMSG_USERAUTH_INFO_RESPONSE)
        response.add_int(len(answers))
        for answer in answers:
            response.add_string(answer)
        with self.transport.lock:
            self.transport._send_message(response)

    def _soon(self) -> float:
        patience_s: float = KEY_PATIENCE_S if self.auth_method in ("publickey", "none") else PERSON_PATIENCE_S
        patience_s = max(patience_s, self.transport.answer_timeout_s)
        return time.monotonic() + patience_s


def _text(message: paramiko.Message) -> str:
    return message.get_binary()[:INTERACTIVE_TEXT_SIZE].decode("utf-8", "replace")
