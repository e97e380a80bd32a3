"""Opens connections to the host's ports by a program there, where its sshd forbids forwarding but runs programs.

`AllowTcpForwarding no`, `PermitOpen` and `DisableForwarding` do so in OpenSSH (sshd_config(5)); tinysshd forwards nothing.
scripts/relay.py speaks RFC 4254, section 5, over one session, so a Relay stands where a transport would: the channels
of a forwarder keep their windows, their half-close and their order.
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

from notebooks_over_ssh.errors import CannotConnect
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.protocol.channel import LARGEST_DATA, Stream, program_request
from notebooks_over_ssh.ssh.protocol.flow_control import Path
from notebooks_over_ssh.ssh.protocol.jump_channel import Carrier
from notebooks_over_ssh.ssh.remote import request
from notebooks_over_ssh.tunnel.forwarded_connection import HOST

# The reasons for which another port or another try makes no difference (RFC 4254, section 5.1).
REFUSALS = (OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, OPEN_FAILED_UNKNOWN_CHANNEL_TYPE)
START_TIMEOUT = 30.0  # seconds
WRITE_TIMEOUT = 15.0  # seconds without any room in the session's window
OUTPUT_LIMIT = 64 * 1024  # bytes of what start-up files print before the program begins
FRAME_LIMIT = LARGEST_DATA + 1024


def forwarding_refusal(connection: Connection, port: int) -> str:
    """Why the host opens no connection to its own port for anybody; "" where it does, or where just nothing listens there.

    Raises CannotConnect when the connection is lost.
    """
    carrier = Carrier(connection.transport, (HOST, port))
    try:
        carrier.connect(connection.timeout_s)
    except paramiko.ChannelException as error:
        return error.text.lower() if error.code in REFUSALS else ""
    except TimeoutError as error:
        raise connection.too_slow() from error
    except FAILURES as error:
        raise CannotConnect(f"the connection to {connection.label} was lost", hint="try again") from error
    finally:
        carrier.close()
    return ""


def go_through_a_program(connection: Connection, refusal: str) -> None:
    """Have the connection open its channels to ports of the host through a program there, until it is closed.

    `refusal` is why sshd does not open them. Raises CannotConnect where no program runs.
    """
    relay = Relay(connection.transport)
    try:
        relay.start()
    except (*FAILURES, ValueError) as error:
        relay.close()
        raise CannotConnect(
            f"{connection.label} forbids forwarding to its ports ({refusal}), and no program there can take its place: {error}",
            hint="ask who runs the host to allow it: AllowTcpForwarding local, PermitOpen 127.0.0.1:*",
        ) from error
    connection.equip(port_transport=relay)


class Relay:
    """Stands where a transport would for the channels of a forwarder: a program on the host opens them."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._program = _Program(transport, self)
        self._streams: dict[int, Stream] = {}
        self._numbers = count()
        self._lock = threading.Lock()
        self.path = Path(self._program.window)
        self.largest_data = LARGEST_DATA

    def start(self) -> None:
        """Start the program, and return once it serves. Raises OSError, SSHException or ValueError with the reason."""
        self._program.start()

    def close(self) -> None:
        """End the program; every channel is lost."""
        self._program.end()

    def is_active(self) -> bool:
        """Whether channels can be opened."""
        return not self._program.has_ended and bool(self._transport.is_active())

    def add(self, stream: Stream) -> None:
        """Give the channel its number. Raises SSHException when the program has ended."""
        with self._lock:
            stream.number = next(self._numbers) & 0xFFFFFFFF
            self._streams[stream.number] = stream
        if not self.is_active():
            self.remove(stream)
            raise paramiko.SSHException("the program that carries connections has ended")

    def remove(self, stream: Stream) -> None:
        """Nothing more comes for the channel."""
        self._streams.pop(stream.number, None)

    def _send_user_message(self, message: paramiko.Message) -> None:
        payload = message.asbytes()
        self._program.write(struct.pack(">I", len(payload)) + payload)

    # ---- in the thread that received it ----

    def take(self, payload: memoryview) -> None:
        """Hand a message on to its channel."""
        stream = self._streams.get(int.from_bytes(payload[1:5], "big"))
        if stream is not None:
            stream.take(payload[0], payload)

    def lose_all(self) -> None:
        """The program has ended, and with it every channel."""
        for stream in list(self._streams.values()):
            stream.drop()


class _Program(Stream):
    """The session in which the program runs."""

    # All channels share it.
    FIRST_WINDOW = 4 * 1024 * 1024

    def __init__(self, transport: Any, relay: Relay) -> None:
        super().__init__(transport, b"session")
        self._relay = relay
        self._marker = secrets.token_hex(16)
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._is_open = False
        self._serves = False
        self._reason = "it has ended"
        self._unread = bytearray()
        self._is_wanted = True
        self.has_ended = False

    def start(self) -> None:
        """Have it run, and wait until it serves. Raises OSError, SSHException, ValueError."""
        self.open()
        self._wait_for(lambda: self._is_open, START_TIMEOUT)
        command, stdin = request(self._marker, "relay", {}, environment="", activate="")
        message = program_request(self._remote_number, command, wants_answer=True)
        self.transport._send_user_message(message)
        self.write(stdin)
        self._wait_for(lambda: self._serves, START_TIMEOUT)

    def write(self, data: bytes) -> None:
        """Write it to the program's standard input as there is room. Raises OSError when the program has ended."""
        rest = memoryview(data)
        with self._writing:  # a message stays in one piece
            while rest:
                self._wait_for(lambda: self.room > 0, WRITE_TIMEOUT)
                part = bytes(rest[: min(self.room, self.largest)])
                self.send_data(part)
                rest = rest[len(part) :]

    def end(self) -> None:
        """Close the session, which ends the program."""
        self._is_wanted = False
        if self._is_open and not self.has_ended and self.transport.is_active():
            self.send_close()
        self._has_ended()

    def _wait_for(self, holds: Any, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self.has_ended or holds(), timeout):
                raise TimeoutError(f"it does not answer within {timeout:.0f} s")
        if self.has_ended:
            raise OSError(self._reason)

    # ---- in the thread that received it ----

    def opened(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def refused(self, error: paramiko.ChannelException) -> None:
        self._reason = error.text.lower()
        self._has_ended()

    def take(self, kind: int, payload: memoryview) -> bool:
        if kind == MSG_CHANNEL_EXTENDED_DATA:
            # Standard error, where start-up files complain; it counts against the window (RFC 4254, section 5.2).
            (size,) = struct.unpack_from(">I", payload, 9)
            self.window.received(size)
            self.taken(size)
        elif kind == MSG_CHANNEL_FAILURE:
            self._reason = "no program is run for this account"
            self._has_ended()
        elif kind != MSG_CHANNEL_SUCCESS:
            return super().take(kind, payload)
        return True

    def received(self, data: memoryview) -> None:
        self._unread += data
        self.taken(len(data))
        try:
            if self._serves or self._find_answer():
                self._take_messages()
        except (ValueError, struct.error, paramiko.SSHException) as error:
            self._reason = str(error)
            self.later(self.send_close)
            self._has_ended()

    def may_send_more(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def ended(self) -> None:
        self._has_ended()

    def closed(self) -> None:
        self._has_ended()

    def lost(self) -> None:
        self._has_ended()

    def _find_answer(self) -> bool:
        """Whether the program said that it serves; raises ValueError with what was said in its place."""
        begin = self._unread.find(f"\n{self._marker} ".encode())
        end = self._unread.find(b"\n", begin + 1)
        if begin < 0 or end < 0:
            if len(self._unread) > OUTPUT_LIMIT:
                raise ValueError("something else runs in its place")
            return False
        said = bytes(self._unread[begin + len(self._marker) + 2 : end]).decode("utf-8", "replace")
        answer = json.loads(said) if said.startswith("{") else {"problem": said}
        if answer.get("problem") != "":
            raise ValueError(f"{answer.get('problem')} {answer.get('reason', '')}".strip()[:200])
        del self._unread[: end + 1]
        with self._changed:
            self._serves = True
            self._changed.notify_all()
        return True

    def _take_messages(self) -> None:
        while len(self._unread) >= 4:
            (size,) = struct.unpack_from(">I", self._unread)
            if not 5 <= size <= FRAME_LIMIT:
                raise ValueError(f"it sent a message of {size} bytes")
            if len(self._unread) < 4 + size:
                return
            message = bytes(self._unread[4 : 4 + size])
            del self._unread[: 4 + size]
            self._relay.take(memoryview(message))

    def _has_ended(self) -> None:
        with self._changed:
            was_over, self.has_ended = self.has_ended, True
            self._changed.notify_all()
        if was_over:
            return
        self._relay.lose_all()
        if self._serves and self._is_wanted:
            # Nothing else leads to the host's ports: without it the connection is of no use, and is made again.
            self.transport.packetizer.later(self.transport.close)
