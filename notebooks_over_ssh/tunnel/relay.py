"""Connects to the host's ports with a program there, where sshd forbids forwarding but runs programs.

OpenSSH forbids forwarding with `AllowTcpForwarding no`, `PermitOpen` or `DisableForwarding` (sshd_config(5)); tinysshd
has none. The program, remote_scripts/relay.py, exchanges channel messages (RFC 4254, section 5) over one session. A
Relay has the interface of a transport, so forwarded connections keep their windows, half-close and order.
"""

import json
import secrets
import struct
import threading
from itertools import count
from typing import Any

import paramiko
from paramiko.common import (
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_SUCCESS,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_UNKNOWN_CHANNEL_TYPE,
)

from notebooks_over_ssh.errors import ConnectError
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.program_input import build_request
from notebooks_over_ssh.ssh.protocol.channel import MAX_DATA_BYTES, SESSION, Channel
from notebooks_over_ssh.ssh.protocol.exec_request import exec_request
from notebooks_over_ssh.ssh.protocol.flow_control import PathEstimate
from notebooks_over_ssh.ssh.protocol.jump_channel import JumpChannel
from notebooks_over_ssh.tunnel.forwarded_connection import HOST

# Reasons that apply to every port and do not pass (RFC 4254, section 5.1).
PERMANENT_REASONS = (OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, OPEN_FAILED_UNKNOWN_CHANNEL_TYPE)
START_TIMEOUT_S = 30.0  # seconds
WRITE_TIMEOUT_S = 15.0  # seconds without any room in the session's window
MAX_PREAMBLE_BYTES = 64 * 1024  # output of shell start-up files, before the program begins
MAX_FRAME_BYTES = MAX_DATA_BYTES + 1024


def forwarding_refusal(connection: Connection, port: int) -> str:
    """Why the host refuses to forward to its own port; "" if it forwards, or if only nothing listens there.

    Raises ConnectError if the connection is lost.
    """
    jump_channel = JumpChannel(connection.transport, (HOST, port))
    try:
        jump_channel.connect(connection.timeout_s)
    except paramiko.ChannelException as error:
        return error.text.lower() if error.code in PERMANENT_REASONS else ""
    except TimeoutError as error:
        raise connection.timeout_error() from error
    except FAILURES as error:
        raise ConnectError(f"the connection to {connection.label} was lost", hint="try again") from error
    finally:
        jump_channel.close()
    return ""


def use_relay(connection: Connection, refusal: str) -> None:
    """Set the connection's `port_transport` to a Relay.

    `refusal` is why sshd forbids forwarding. Raises ConnectError if the program cannot run.
    """
    relay = Relay(connection.transport)
    try:
        relay.start()
    except (*FAILURES, ValueError) as error:
        relay.close()
        raise ConnectError(
            f"{connection.label} forbids forwarding to its ports ({refusal}), "
            f"and the program that replaces it there failed: {error}",
            hint="ask the host's administrator to allow it: AllowTcpForwarding local, PermitOpen 127.0.0.1:*",
        ) from error
    connection.open_ports_through(relay)


class Relay:
    """A transport for forwarded connections, whose channels a program on the host opens."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._program = _RelaySession(transport, self)
        self._channels: dict[int, Channel] = {}
        self._numbers = count()
        self._lock = threading.Lock()
        self.path_estimate = PathEstimate(self._program.window)
        self.max_data_bytes = MAX_DATA_BYTES

    def start(self) -> None:
        """Start the program and wait until it is ready. Raises OSError, SSHException or ValueError with the reason."""
        self._program.start()

    def close(self) -> None:
        """End the program, and all channels with it."""
        self._program.end()

    def is_active(self) -> bool:
        """Whether channels can be opened."""
        return not self._program.has_ended and bool(self._transport.is_active())

    def add(self, channel: Channel) -> None:
        """Register the channel and number it. Raises SSHException if the program has ended."""
        with self._lock:
            channel.local_id = next(self._numbers) & 0xFFFFFFFF
            self._channels[channel.local_id] = channel
        if not self.is_active():
            self.remove(channel)
            raise paramiko.SSHException("the relay on the host has ended")

    def remove(self, channel: Channel) -> None:
        """Unregister the channel."""
        self._channels.pop(channel.local_id, None)

    def _send_user_message(self, message: paramiko.Message) -> None:
        payload = message.asbytes()
        self._program.write(struct.pack(">I", len(payload)) + payload)

    # ---- in the receiving thread ----

    def handle_packet(self, payload: memoryview) -> None:
        """Pass a message to its channel."""
        channel = self._channels.get(int.from_bytes(payload[1:5], "big"))
        if channel is not None:
            channel.handle_packet(payload[0], payload)

    def connection_lost(self) -> None:
        """End all channels: the program has ended."""
        for channel in list(self._channels.values()):
            channel.transport_lost()


class _RelaySession(Channel):
    """The session in which the program runs."""

    # bytes; all channels share it
    INITIAL_WINDOW = 4 * 1024 * 1024

    def __init__(self, transport: Any, relay: Relay) -> None:
        super().__init__(transport, SESSION)
        self._relay = relay
        self._marker = secrets.token_hex(16)
        self._condition = threading.Condition()
        self._write_lock = threading.Lock()
        self._is_open = False
        self._is_ready = False
        self._reason = "it has ended"
        self._unread = bytearray()
        self._expected = True
        self.has_ended = False

    def start(self) -> None:
        """Run the program and wait until it is ready. Raises OSError, SSHException or ValueError."""
        self.open()
        self._wait_for(lambda: self._is_open, START_TIMEOUT_S)
        command, stdin = build_request(self._marker, "relay", {})
        message = exec_request(self._remote_id, command, want_reply=True)
        self.transport._send_user_message(message)
        self.write(self.transport.input_prefix + stdin)
        self._wait_for(lambda: self._is_ready, START_TIMEOUT_S)

    def write(self, data: bytes) -> None:
        """Write to the program's standard input, within the window. Raises OSError if the program has ended."""
        rest = memoryview(data)
        with self._write_lock:  # messages must not be interleaved
            while rest:
                self._wait_for(lambda: self.send_window > 0, WRITE_TIMEOUT_S)
                chunk = bytes(rest[: min(self.send_window, self.max_packet_size)])
                self.send_data(chunk)
                rest = rest[len(chunk) :]

    def end(self) -> None:
        """Close the session, which ends the program."""
        self._expected = False
        if self._is_open and not self.has_ended and self.transport.is_active():
            self.send_close()
        self._mark_ended()

    def _wait_for(self, predicate: Any, timeout: float) -> None:
        with self._condition:
            if not self._condition.wait_for(lambda: self.has_ended or predicate(), timeout):
                raise TimeoutError(f"it does not answer within {timeout:.0f} s")
        if self.has_ended:
            raise OSError(self._reason)

    # ---- in the receiving thread ----

    def channel_opened(self) -> None:
        with self._condition:
            self._is_open = True
            self._condition.notify_all()

    def open_failed(self, error: paramiko.ChannelException) -> None:
        self._reason = error.text.lower()
        self._mark_ended()

    def handle_packet(self, message_type: int, payload: memoryview) -> bool:
        if message_type == MSG_CHANNEL_EXTENDED_DATA:
            # Standard error, where start-up files complain; it counts against the window (RFC 4254, section 5.2).
            (size,) = struct.unpack_from(">I", payload, 9)
            self.window.on_received(size)
            self.consumed(size)
        elif message_type == MSG_CHANNEL_FAILURE:
            self._reason = "no program is run for this account"
            self._mark_ended()
        elif message_type != MSG_CHANNEL_SUCCESS:
            return super().handle_packet(message_type, payload)
        return True

    def data_received(self, data: memoryview) -> None:
        self._unread += data
        self.consumed(len(data))
        try:
            if self._is_ready or self._parse_reply():
                self._read_messages()
        except (ValueError, RecursionError, struct.error, paramiko.SSHException) as error:
            self._reason = str(error)
            self.call_soon(self.send_close)
            self._mark_ended()

    def resume_writing(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def eof_received(self) -> None:
        self._mark_ended()

    def channel_closed(self) -> None:
        self._mark_ended()

    def connection_lost(self) -> None:
        self._mark_ended()

    def _parse_reply(self) -> bool:
        """Whether the program has reported that it is ready. Raises ValueError with its error."""
        begin = self._unread.find(f"\n{self._marker} ".encode())
        end = self._unread.find(b"\n", begin + 1)
        if begin < 0 or end < 0:
            if len(self._unread) > MAX_PREAMBLE_BYTES:
                raise ValueError("something else runs instead")
            return False
        line = bytes(self._unread[begin + len(self._marker) + 2 : end]).decode("utf-8", "replace")
        reply = json.loads(line) if line.startswith("{") else {"problem": line}
        if reply.get("problem") != "":
            raise ValueError(f"{reply.get('problem')} {reply.get('reason', '')}".strip()[:200])
        del self._unread[: end + 1]
        with self._condition:
            self._is_ready = True
            self._condition.notify_all()
        return True

    def _read_messages(self) -> None:
        while len(self._unread) >= 4:
            (size,) = struct.unpack_from(">I", self._unread)
            if not 5 <= size <= MAX_FRAME_BYTES:
                raise ValueError(f"it sent a message of {size} bytes")
            if len(self._unread) < 4 + size:
                return
            message = bytes(self._unread[4 : 4 + size])
            del self._unread[: 4 + size]
            self._relay.handle_packet(memoryview(message))

    def _mark_ended(self) -> None:
        with self._condition:
            had_ended, self.has_ended = self.has_ended, True
            self._condition.notify_all()
        if had_ended:
            return
        self._relay.connection_lost()
        if self._is_ready and self._expected:
            # The connection is useless without its relay: close it, so that the supervisor reconnects.
            self.transport.packetizer.call_soon(self.transport.close)
