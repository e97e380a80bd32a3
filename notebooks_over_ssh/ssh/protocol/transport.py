"""A Paramiko transport with stronger algorithms, fewer round trips, and an SSHException for any malformed message."""

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
from notebooks_over_ssh.ssh.algorithms import (
    CIPHERS,
    EXTRA_CIPHERS,
    EXTRA_KEX,
    KEX,
    KEYS,
    MACS,
    USER_KEYS,
    NoCommonAlgorithm,
)
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.protocol.channel import MAX_DATA_BYTES, Channel
from notebooks_over_ssh.ssh.protocol.compression import COMPRESSION, DELAYED_ZLIB
from notebooks_over_ssh.ssh.protocol.flow_control import PathEstimate
from notebooks_over_ssh.ssh.protocol.jump_channel import CarrierChannel
from notebooks_over_ssh.ssh.protocol.nested_packetizer import NestedPacketizer
from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer
from notebooks_over_ssh.ssh.protocol.session_ahead import Session
from notebooks_over_ssh.ssh.protocol.sessions_ahead import SessionsAhead
from notebooks_over_ssh.ssh.userauth import UserAuth

_log = logging.getLogger(__name__)

# Length, padding, a MAC of 64 bytes and the header of SSH_MSG_CHANNEL_DATA.
PACKET_OVERHEAD_BYTES = 128
# As sshd's LoginGraceTime.
KEX_TIMEOUT_S = 120.0
MAX_REASON_LENGTH = 1000
# How many replies may wait for the end of a key exchange.
UNSENT_LIMIT = 1024


# Missing from the stubs.
_Transport: Any = paramiko.ServiceRequestingTransport  # type: ignore[attr-defined]


class Transport(_Transport):  # type: ignore[misc] # as above
    """A client's transport, directly over TCP or inside a jump channel.

    It requests the authentication service once and sends the first authentication request without waiting for the
    reply: a server that rejects the service "MUST disconnect" (RFC 4253, section 10).
    """

    _preferred_ciphers = CIPHERS
    _preferred_macs = MACS
    _preferred_keys = KEYS
    _preferred_pubkeys = USER_KEYS
    _preferred_kex = KEX
    _kex_info = _Transport._kex_info | EXTRA_KEX
    _cipher_info = _Transport._cipher_info | EXTRA_CIPHERS
    _compression_info = COMPRESSION

    def __init__(self, sock: Any, **kwargs: Any) -> None:
        jump_channel = sock if isinstance(sock, CarrierChannel) else None
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
        """The most data bytes in one packet; with its overhead, it fits in one packet of the jump channel."""
        self._own_channels: dict[int, Any] = {}
        self.sessions_ahead = SessionsAhead(self)
        self._service_requested = False
        self._unsent = 0
        self.auth_timeout_s: float = 10
        self.prefer_host_certificates = False
        """Whether to prefer host certificates to plain keys; Paramiko offers them last, and so never gets one."""
        self.disabled_host_keys: frozenset[str] = frozenset()
        """Host key algorithms that are not offered, with or without a certificate."""
        self.input_prefix = b""
        """What every program's standard input begins with: nothing, as sshd itself runs the program."""
        self.disconnect_reason = ""
        """The description in the peer's SSH_MSG_DISCONNECT (RFC 4253, section 11.1); "" if it sent none."""
        self.show_banner: Callable[[str], None] = lambda text: None
        self.show_waiting: Callable[[], None] = lambda: None
        """Called with the authentication banner (RFC 4252, section 5.4), in the thread that logs in."""
        self.clear_to_send_timeout = KEX_TIMEOUT_S
        handlers: dict[int, Any] = _Transport._channel_handler_table
        self._channel_handler_table: dict[int, Any] = handlers | {
            MSG_CHANNEL_DATA: partial(self._feed_session, handlers[MSG_CHANNEL_DATA]),
            MSG_CHANNEL_EXTENDED_DATA: partial(self._feed_session, handlers[MSG_CHANNEL_EXTENDED_DATA]),
        }

    def add(self, channel: Channel) -> None:
        """Register the channel and assign its number. Raises SSHException if the connection has ended."""
        with self.lock:
            channel.local_id = self._next_channel()
            self._own_channels[channel.local_id] = channel
        if not self.active:
            self.remove(channel)
            raise paramiko.SSHException("the connection has ended")

    def remove(self, channel: Channel) -> None:
        """Unregister the channel."""
        self._own_channels.pop(channel.local_id, None)

    def replace(self, channel: Channel, session: Session) -> None:
        """Register a session under the number of the channel, in its place."""
        self._own_channels[channel.local_id] = session

    def open_session(self, *args: Any, **kwargs: Any) -> paramiko.Channel:
        """As Paramiko's method, with the session that was opened ahead, if there is one."""
        return self.sessions_ahead.open_session(partial(super().open_session, *args, **kwargs))

    def send_keepalive(self) -> None:
        """Send a global request that every server answers, as `ssh` does for ServerAliveInterval.

        Does not block: the transport's thread sends it, and `packetizer.last_received_at` shows the answer.
        """
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        self.packetizer.call_soon(partial(self._send_user_message, message))

    @property
    def saved_exception(self) -> Exception | None:
        """Why the connection ended or the last request failed, for other threads: one of FAILURES, or a UserError."""
        return self._saved_exception

    @saved_exception.setter
    def saved_exception(self, error: Exception | None) -> None:
        if error is not None and not isinstance(error, (*FAILURES, UserError)):
            # Paramiko, or the code that parses keys and signatures, failed on malformed input.
            cause = error
            error = paramiko.SSHException("the server sent a malformed packet")
            error.__cause__ = cause
        self._saved_exception = error

    def run(self) -> None:
        """Read packets until the end, then notify every channel."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 # Paramiko fails on an OSError without errno, before its clean-up
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
            # During a key exchange: Paramiko's method waits for its end.
            super()._send_user_message(data)

    def _send_after_kex(self, data: paramiko.Message) -> None:
        """Send it after the key exchange, which this thread itself has to complete, so it must not wait.

        RFC 4253, section 7.1: no other messages may be sent between SSH_MSG_KEXINIT and SSH_MSG_NEWKEYS.
        """
        if self._unsent >= UNSENT_LIMIT:
            raise paramiko.SSHException("the server sent too many requests during a key exchange")
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
        # During a key exchange, Paramiko checks which messages are allowed.
        if message_type < MSG_CHANNEL_OPEN_SUCCESS or len(payload) < 5 or self._expected_packet:
            return False
        channel = self._own_channels.get(int.from_bytes(payload[1:5], "big"))
        return channel is not None and channel.handle_packet(message_type, payload)

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The host key algorithms to offer: those with certificates first if an authority is known."""
        keys = tuple(key for key in super().preferred_keys if key not in self.disabled_host_keys)
        return (
            tuple(sorted(keys, key=lambda key: "-cert-v01@" not in key))
            if self.prefer_host_certificates
            else keys
        )

    def use_compression(self, compress: bool = True) -> None:
        """Offer compression that starts after the login, so that no unauthenticated peer can reach the decompressor."""
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

    def _really_parse_kex_init(self, message: paramiko.Message) -> dict[str, Any]:
        """The server's algorithms, by Paramiko's names for their kinds.

        With an AEAD cipher, "the offered MAC algorithms are ignored" (PROTOCOL.chacha20poly1305), but not by Paramiko.
        """
        offer: dict[str, Any] = super()._really_parse_kex_init(message)
        for peer in ("client", "server"):
            ciphers = [name for name in self.preferred_ciphers if name in offer[f"{peer}_encrypt_algo_list"]]
            if ciphers and self._cipher_info[ciphers[0]].get("is_aead"):
                offer[f"{peer}_mac_algo_list"] = list(self.preferred_macs)
        return offer

    def _parse_kex_init(self, message: paramiko.Message) -> None:
        try:
            super()._parse_kex_init(message)
        except IncompatiblePeer as error:
            message.rewind()
            offer = self._really_parse_kex_init(message)
            for kind, names, supported in (
                ("key exchange method", "kex_algo_list", self.preferred_kex),
                ("host key algorithm", "server_key_algo_list", self.preferred_keys),
                ("cipher", "client_encrypt_algo_list", self.preferred_ciphers),
                ("cipher", "server_encrypt_algo_list", self.preferred_ciphers),
                ("MAC", "client_mac_algo_list", self.preferred_macs),
                ("MAC", "server_mac_algo_list", self.preferred_macs),
            ):
                if not set(offer[names]) & set(supported):
                    raise NoCommonAlgorithm(kind, offer[names], supported) from error
            raise

    def _feed_session(self, feed: Callable[..., None], channel: Any, message: paramiko.Message) -> None:
        """Deliver data to one of Paramiko's channels, which do not enforce their window (RFC 4254, section 5.2)."""
        feed(channel, message)
        unread = len(channel.in_buffer) + len(channel.in_stderr_buffer) + channel.in_window_sofar
        if unread > channel.in_window_size:
            raise paramiko.SSHException("the server sent more than the window allows")

    def ensure_session(self) -> None:
        """Request the authentication service (RFC 4253, section 10).

        Paramiko's method polls every 0.1 s for the reply, and never ends if the peer dies.
        """
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
        # The description is informative only, and some servers omit it.
        with contextlib.suppress(paramiko.SSHException):
            message.get_int()
            self.disconnect_reason = message.get_text()[:MAX_REASON_LENGTH]
