"""The SSH transport as these tasks want it: good ciphers, no needless round trip, one error whatever a server sends."""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import paramiko
from paramiko.common import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_OPEN_SUCCESS,
    cMSG_GLOBAL_REQUEST,
    cMSG_SERVICE_REQUEST,
)
from paramiko.ssh_exception import IncompatiblePeer

from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.ssh.algorithms import CIPHERS, EXTRA_KEX, KEX, KEYS, MACS, NoCommonAlgorithm
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.protocol.channel import MAX_DATA_BYTES, Channel, exec_request
from notebooks_over_ssh.ssh.protocol.compression import COMPRESSION, DELAYED_ZLIB
from notebooks_over_ssh.ssh.protocol.flow_control import PathEstimate
from notebooks_over_ssh.ssh.protocol.jump_channel import JumpChannel
from notebooks_over_ssh.ssh.protocol.nested_packetizer import NestedPacketizer
from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer
from notebooks_over_ssh.ssh.userauth import UserAuth

_log = logging.getLogger(__name__)

# The length, the padding, a MAC of 64 bytes and the head of a packet of data.
PACKET_OVERHEAD_BYTES = 128
# How long an exchange of keys may take, in seconds; sshd gives a whole login as much (LoginGraceTime).
KEX_TIMEOUT_S = 120.0
MAX_REASON_LENGTH = 1000
MAX_PRE_BANNER_LINES = 1024
# Messages that wait while keys are exchanged.
UNSENT_LIMIT = 1024


# The stubs do not have it.
_Transport: Any = paramiko.ServiceRequestingTransport  # type: ignore[attr-defined]


class Transport(_Transport):  # type: ignore[misc] # as above
    """Asks for the authentication service once, and does not wait for the answer: the first login goes with it.

    RFC 4253, section 10, lets a client go on; a server that refuses the service ends the connection.
    """

    _preferred_ciphers = CIPHERS
    _preferred_macs = MACS
    _preferred_keys = KEYS
    _preferred_pubkeys = KEYS
    _preferred_kex = KEX
    _kex_info = _Transport._kex_info | EXTRA_KEX
    _compression_info = COMPRESSION

    def __init__(self, sock: Any, **kwargs: Any) -> None:
        jump_channel = sock if isinstance(sock, JumpChannel) else None
        super().__init__(
            sock, packetizer_class=NestedPacketizer if jump_channel else BlockPacketizer, **kwargs
        )
        self.packetizer.packet_handler = self._dispatch_channel_packet
        self.packetizer.can_send = self.clear_to_send.is_set
        self.path_estimate = PathEstimate(jump_channel.window if jump_channel else None)
        self.max_data_bytes = (
            min(MAX_DATA_BYTES, jump_channel.max_packet_size - PACKET_OVERHEAD_BYTES)
            if jump_channel
            else MAX_DATA_BYTES
        )
        """The most bytes of a stream in one packet: with all around it, it fits one packet of what carries it."""
        self._own_channels: dict[int, Channel] = {}
        self._service_requested = False
        self._unsent = 0
        self.auth_timeout_s: float = 10
        self.prefer_host_certificates = False
        """Whether the host is asked for a certificate before a plain key; Paramiko puts it last, and it never comes."""
        self.disabled_host_keys: frozenset[str] = frozenset()
        """The host key algorithms that are not asked for, with a certificate or without."""
        self.disconnect_reason = ""
        """What the peer said when it ended the connection (RFC 4253, section 11.1); "" where the path just broke."""
        self.show_banner: Callable[[str], None] = lambda text: None
        """Called with what the peer has to say before the login (RFC 4252, section 5.4), in the thread that logs in."""
        self.clear_to_send_timeout = KEX_TIMEOUT_S
        handlers: dict[int, Any] = _Transport._channel_handler_table
        self._channel_handler_table: dict[int, Any] = handlers | {
            MSG_CHANNEL_DATA: partial(self._feed_session, handlers[MSG_CHANNEL_DATA]),
            MSG_CHANNEL_EXTENDED_DATA: partial(self._feed_session, handlers[MSG_CHANNEL_EXTENDED_DATA]),
        }

    def add(self, channel: Channel) -> None:
        """Give the stream its number. Raises SSHException when the connection has ended."""
        with self.lock:
            channel.local_id = self._next_channel()
            self._own_channels[channel.local_id] = channel
        if not self.active:
            self.remove(channel)
            raise paramiko.SSHException("the connection has ended")

    def remove(self, channel: Channel) -> None:
        """Nothing more comes for the stream."""
        self._own_channels.pop(channel.local_id, None)

    def send_keepalive(self) -> None:
        """Send what every server answers, and do not wait: `packetizer.last_received_at` tells when it did.

        OpenSSH's ssh asks the same for ServerAliveInterval. It is sent by the transport's own thread, as the one that
        asks must not wait for a network that takes nothing.
        """
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        self.packetizer.call_soon(partial(self._send_user_message, message))

    @property
    def saved_exception(self) -> Exception | None:
        """Why the connection ended, or the last request failed: one of FAILURES, or a UserError; it is raised in other threads."""
        return self._saved_exception

    @saved_exception.setter
    def saved_exception(self, error: Exception | None) -> None:
        if error is not None and not isinstance(error, (*FAILURES, UserError)):
            # A packet that Paramiko, or the code for a key or a signature, stumbled over.
            cause = error
            error = paramiko.SSHException("it sent a packet that makes no sense")
            error.__cause__ = cause
        self._saved_exception = error

    def run(self) -> None:
        """Read packets until the end, and let every stream know that it came."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 # Paramiko stumbles over errors without a number, and leaves all as it is
            self.saved_exception = error
            self.close()
            if self.completion_event is not None:
                self.completion_event.set()
            if self.auth_handler is not None:
                self.auth_handler.abort()
        finally:
            for channel in list(self._own_channels.values()):
                channel.transport_lost()

    def _send_user_message(self, data: paramiko.Message) -> None:
        with self.clear_to_send_lock:
            if self.active and self.clear_to_send.is_set():
                self._send_message(data)
                return
        if threading.current_thread() is self:
            self._send_after_kex(data)
        else:
            # Keys are being exchanged: what Paramiko does waits for them.
            super()._send_user_message(data)

    def _send_after_kex(self, data: paramiko.Message) -> None:
        """Send it once the keys are exchanged, which is up to this very thread, so that it must not wait."""
        if self._unsent >= UNSENT_LIMIT:
            raise paramiko.SSHException("it wants too many answers while keys are exchanged")
        self._unsent += 1

        def send() -> None:
            self._unsent -= 1
            self._send_user_message(data)

        self.packetizer.call_soon(send)

    def _next_channel(self) -> int:
        number: int = super()._next_channel()
        while number in self._own_channels:
            number = super()._next_channel()
        return number

    def _dispatch_channel_packet(self, message_type: int, payload: memoryview) -> bool:
        # While keys are exchanged, the transport itself has to say what may come.
        if message_type < MSG_CHANNEL_OPEN_SUCCESS or len(payload) < 5 or self._expected_packet:
            return False
        channel = self._own_channels.get(int.from_bytes(payload[1:5], "big"))
        return channel is not None and channel.handle_packet(message_type, payload)

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The host key algorithms in the order of our wish: those with a certificate first, where one can be checked."""
        keys = tuple(key for key in super().preferred_keys if key not in self.disabled_host_keys)
        return (
            tuple(sorted(keys, key=lambda key: "-cert-v01@" not in key))
            if self.prefer_host_certificates
            else keys
        )

    def use_compression(self, compress: bool = True) -> None:
        """Offer compression, from the login on only: before, whoever is in between could make us expand what they like."""
        self._preferred_compression = (DELAYED_ZLIB, "none") if compress else ("none",)

    def _send_kex_init(self) -> None:
        self.packetizer.kex_deadline = time.monotonic() + KEX_TIMEOUT_S
        super()._send_kex_init()

    def _parse_newkeys(self, message: paramiko.Message) -> None:
        super()._parse_newkeys(message)
        self.packetizer.kex_deadline = math.inf
        _log.debug(
            "%s: keys exchanged, host key algorithm %s, cipher %s, MAC %s",
            self.remote_version,
            self.host_key_type,
            self.local_cipher,
            self.local_mac,
        )

    def _parse_kex_init(self, message: paramiko.Message) -> None:
        try:
            super()._parse_kex_init(message)
        except IncompatiblePeer as error:
            message.rewind()
            offered = self._really_parse_kex_init(message)
            for kind, names, supported in (
                ("key exchange method", "kex_algo_list", self.preferred_kex),
                ("host key algorithm", "server_key_algo_list", self.preferred_keys),
                ("cipher", "client_encrypt_algo_list", self.preferred_ciphers),
                ("cipher", "server_encrypt_algo_list", self.preferred_ciphers),
                ("MAC", "client_mac_algo_list", self.preferred_macs),
                ("MAC", "server_mac_algo_list", self.preferred_macs),
            ):
                if not set(offered[names]) & set(supported):
                    raise NoCommonAlgorithm(kind, offered[names], supported) from error
            raise

    def _feed_session(self, feed: Callable[..., None], channel: Any, message: paramiko.Message) -> None:
        """Give a channel of Paramiko's own, a program's, what arrived for it; it does not look at its window itself."""
        feed(channel, message)
        unread = len(channel.in_buffer) + len(channel.in_stderr_buffer) + channel.in_window_sofar
        if unread > channel.in_window_size:
            raise paramiko.SSHException("it sent more than the window allows")

    def _check_banner(self) -> None:
        """Read up to the version: RFC 4253, section 4.2, lets a server say any number of lines before; OpenSSH reads 1024."""
        read = self.packetizer.readline

        def version(timeout: float) -> str:
            for _ in range(MAX_PRE_BANNER_LINES):
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
        if self._service_requested is False:
            self._service_requested = True
            message = paramiko.Message()
            message.add_byte(cMSG_SERVICE_REQUEST)
            message.add_string("ssh-userauth")
            self._send_message(message)
            self.auth_handler = UserAuth(self)

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        # The reason is for people, and some servers leave it out; what else may be wrong with it is no matter any more.
        with contextlib.suppress(paramiko.SSHException):
            message.get_int()
            self.disconnect_reason = message.get_text()[:MAX_REASON_LENGTH]


def request_exec(channel: paramiko.Channel, command: str) -> None:
    """Ask for the command to be run in the channel, and do not wait for the answer: input can go with it."""
    channel.event.clear()
    transport: Any = channel.transport  # its stubs leave out what Channel.exec_command itself calls
    transport._send_user_message(exec_request(channel.remote_chanid, command, want_reply=True))


def wait_for_exec_reply(channel: paramiko.Channel, timeout_s: float) -> None:
    """Return once the peer has answered what `request_exec` asked, or closed the channel. Raises TimeoutError."""
    if not channel.event.wait(timeout_s):
        raise TimeoutError
