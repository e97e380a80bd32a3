"""The connection protocol (RFC 4254) alone: the process at the other end of the socket has the encrypted connection."""

import select
import socket
import struct
import sys
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_OPEN_FAILURE, MSG_CHANNEL_OPEN_SUCCESS

from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP_SESSION
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.protocol.packet_encryption import (
    MAX_PACKET_BYTES,
    Block,
    DecryptedPacket,
    PlainCipher,
)
from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer
from notebooks_over_ssh.ssh.protocol.transport import Transport

_HANDLED = (MSG_CHANNEL_OPEN_SUCCESS, MSG_CHANNEL_OPEN_FAILURE)


class UnpaddedCipher(PlainCipher):
    """Packets without encryption and padding (PROTOCOL.mux, section 9)."""

    def decrypt_packet(self, block: Block, offset: int, sequence: int) -> DecryptedPacket:
        """As PlainCipher, for packets of any size."""
        if len(block) < offset + 4:
            return None
        (size,) = struct.unpack_from(">I", block, offset)
        if not 2 <= size <= MAX_PACKET_BYTES:
            raise paramiko.SSHException(f"packet of {size} bytes received")
        if len(block) < offset + 4 + size:
            return None
        return memoryview(block)[offset + 4 : offset + 4 + size], 4 + size

    def encrypt_packet(self, payload: bytes, sequence: int) -> bytes:
        """As PlainCipher, without padding."""
        return frame(payload)


class UnpaddedPacketizer(BlockPacketizer):
    """Never exchanges keys."""

    REKEY_BYTES = sys.maxsize

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._inbound_cipher = self._outbound_cipher = UnpaddedCipher()
        self._initial_kex_done = True


class MuxTransport(Transport):
    """Channels over a socket to a process of this account, with neither key exchange nor login."""

    def __init__(self, sock: Any, host_key: str) -> None:
        super().__init__(sock)
        self.packetizer = UnpaddedPacketizer(sock)
        self.packetizer.packet_handler = self._dispatch_channel_packet
        self.packetizer.can_send = self.clear_to_send.is_set
        self.verified_host_key = host_key
        """The key (base64) with which the host authenticated itself."""
        self.held_login: Any = None
        """How a process of this program describes the login; None for a master of OpenSSH."""
        self.initial_kex_done = True
        self.clear_to_send.set()
        self.packetizer.complete_handshake()
        self.active = True
        self.start()

    @property
    def has_ended(self) -> bool:
        """Whether the process at the other end has closed the socket, even if that was not read yet."""
        try:
            poller = select.poll()
            poller.register(self.sock, select.POLLIN)
            return bool(poller.poll(0)) and not self.sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:  # the transport has read it meanwhile
            return False
        except (OSError, ValueError):  # it is closed
            return True

    def open_bootstrap_session(self) -> paramiko.Channel:
        """A session for BOOTSTRAP, where it may be running already. Raises SSHException."""
        if self.held_login is None:
            return self.open_session()
        channel: paramiko.Channel = self.open_channel(BOOTSTRAP_SESSION.decode())
        return channel

    def run(self) -> None:
        """Read packets until the end, then notify every channel."""
        try:
            while self.active:
                self._handle(*self.packetizer.read_message())
        except FAILURES as error:
            self.saved_exception = error
        finally:
            self.active = False
            self.packetizer.close()
            for session in list(self._channels.values()):
                session._unlink()
            for event in list(self.channel_events.values()):
                event.set()
            for channel in list(self._own_channels.values()):
                channel.transport_lost()

    def _handle(self, message_type: int, message: paramiko.Message) -> None:
        if message_type in _HANDLED:
            self._handler_table[message_type](message)
        elif message_type in self._channel_handler_table:
            session = self._channels.get(message.get_int())
            if session is not None:
                self._channel_handler_table[message_type](session, message)


def frame(payload: bytes) -> bytes:
    """The packet with this payload: length, padding length 0, payload."""
    return struct.pack(">IB", 1 + len(payload), 0) + payload
