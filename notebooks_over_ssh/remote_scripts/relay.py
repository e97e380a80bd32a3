"""Forwards connections to loopback ports of this host over standard input and output, where sshd forbids forwarding.

The protocol is the channel messages of RFC 4254, section 5, that direct-tcpip needs (section 7.2), each preceded by its
length (uint32). The window of a channel bounds its buffer. A write to standard output blocks, and nothing is read
meanwhile; the client always reads, so there is no deadlock. The program ends at the end of its standard input.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import collections
import os
import selectors
import socket
import struct

from common import reply

OPEN, OPEN_CONFIRMATION, OPEN_FAILURE, WINDOW_ADJUST, DATA, EOF, CLOSE = 90, 91, 92, 93, 94, 96, 97
PROHIBITED, CONNECT_FAILED, RESOURCE_SHORTAGE = 1, 2, 4
STDIN, STDOUT = 0, 1
LOOPBACK = b"127.0.0.1"
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
WINDOW = 512 * 1024  # bytes that a channel may receive before its socket has sent them
PACKET = 32768  # bytes of data in one message
MAX_FRAME_BYTES = PACKET + 1024
MAX_CHANNELS = 1024
BLOCK = 256 * 1024


def main(parameters):
    reply(problem="")
    Relay().run()


class Relay(object):
    """All channels, served by one thread."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.channels = {}
        self.unread = bytearray()
        self.at_eof = False

    def run(self):
        self.selector.register(STDIN, READ, self.read_messages)
        while not self.at_eof:
            for key, events in self.selector.select():
                key.data(events)

    def set_interest(self, sock, events, handler):
        """Call the handler when the socket is ready for these events; without events, never."""
        is_registered = sock in self.selector.get_map()
        if events and is_registered:
            self.selector.modify(sock, events, handler)
        elif events:
            self.selector.register(sock, events, handler)
        elif is_registered:
            self.selector.unregister(sock)

    def read_messages(self, _):
        block = os.read(STDIN, BLOCK)
        self.unread += block
        self.at_eof = not block
        while len(self.unread) >= 4:
            (size,) = struct.unpack_from(">I", self.unread)
            if not 5 <= size <= MAX_FRAME_BYTES:
                raise RuntimeError("a message of %d bytes" % size)
            if len(self.unread) < 4 + size:
                break
            message = bytes(self.unread[4 : 4 + size])
            del self.unread[: 4 + size]
            self.handle_message(message)

    def handle_message(self, message):
        kind = message[0]
        if kind == OPEN:
            return self.open(message)
        channel = self.channels.get(struct.unpack_from(">I", message, 1)[0])
        if channel is not None:
            channel.handle_message(kind, message)

    def open(self, message):
        _, offset = read_string(message, 1)
        number, window, packet = struct.unpack_from(">III", message, offset)
        host, offset = read_string(message, offset + 12)
        (port,) = struct.unpack_from(">I", message, offset)
        if host != LOOPBACK:
            return self.refuse(number, PROHIBITED)
        if len(self.channels) >= MAX_CHANNELS:
            return self.refuse(number, RESOURCE_SHORTAGE)
        try:
            self.channels[number] = Channel(self, number, window, min(packet, PACKET), port)
        except (OSError, OverflowError):
            self.refuse(number, CONNECT_FAILED)

    def refuse(self, number, code):
        self.channels.pop(number, None)
        self.send(OPEN_FAILURE, number, struct.pack(">III", code, 0, 0))

    def send(self, kind, number, fields=b""):
        rest = memoryview(struct.pack(">IBI", 5 + len(fields), kind, number) + fields)
        while rest:
            rest = rest[os.write(STDOUT, rest) :]


class Channel(object):
    """One connection to a port of this host."""

    def __init__(self, relay, number, window, packet, port):
        self.relay = relay
        self.number = number
        self.window = window
        self.packet = packet
        self.backlog = collections.deque()
        self.consumed = 0
        self.is_open = False
        self.eof_received = self.eof_sent = False
        self.close_received = self.close_sent = False
        self.socket = socket.socket()
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.connect_ex((LOOPBACK.decode(), port))
            self.relay.set_interest(self.socket, WRITE, self.on_connected)
        except BaseException:
            self.socket.close()
            raise

    def on_connected(self, _):
        """The attempt to connect has ended (connect(2), EINPROGRESS)."""
        if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.close_socket()
            return self.relay.refuse(self.number, CONNECT_FAILED)
        self.is_open = True
        self.relay.send(OPEN_CONFIRMATION, self.number, struct.pack(">III", self.number, WINDOW, PACKET))
        self.update_interest()

    def handle_message(self, kind, message):
        if kind == DATA and not self.close_sent:
            self.backlog.append(memoryview(message)[9:])
            self.write()
        elif kind == WINDOW_ADJUST:
            self.window += struct.unpack_from(">I", message, 5)[0]
        elif kind == EOF:
            self.eof_received = True
            self.write()
        elif kind == CLOSE:
            self.close_received = True
            if not self.eof_received or not self.backlog:
                self.close(reset=not self.eof_received)
        self.update_interest()

    def update_interest(self):
        if self.close_sent or not self.is_open:
            return
        events = READ if self.window > 0 and not self.eof_sent and not self.close_received else 0
        self.relay.set_interest(self.socket, events | (WRITE if self.backlog else 0), self.on_ready)

    def on_ready(self, events):
        if events & WRITE:
            self.write()
        if events & READ and not self.close_sent:
            self.read()
        self.update_interest()

    def read(self):
        try:
            data = self.socket.recv(min(self.window, self.packet))
        except BlockingIOError:
            return
        except OSError:
            self.close(reset=True)
            return
        if data:
            self.window -= len(data)
            self.relay.send(DATA, self.number, struct.pack(">I", len(data)) + data)
            return
        self.eof_sent = True
        self.relay.send(EOF, self.number)
        self.close_when_both_eof()

    def write(self):
        """Send the backlog to the socket, and adjust the window by as much."""
        if self.close_sent:
            return
        try:
            while self.backlog:
                sent = self.socket.send(self.backlog[0])
                self.consumed += sent
                if sent < len(self.backlog[0]):
                    self.backlog[0] = self.backlog[0][sent:]
                else:
                    self.backlog.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.close(reset=True)
            return
        if self.consumed >= WINDOW // 4 and not self.eof_received:
            self.relay.send(WINDOW_ADJUST, self.number, struct.pack(">I", self.consumed))
            self.consumed = 0
        if self.backlog or not self.eof_received:
            return
        if self.close_received:
            self.close(reset=False)
            return
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the connection is lost, which the next read reports
        self.close_when_both_eof()

    def close_when_both_eof(self):
        if self.eof_sent and self.eof_received and not self.backlog:
            self.close(reset=False)

    def close(self, reset):
        """Close the channel and its socket; `reset` marks truncated data as incomplete (SO_LINGER, socket(7))."""
        if not self.close_sent:
            self.close_sent = True
            if reset:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_socket()
            self.relay.send(CLOSE, self.number)
        if self.close_received:
            self.relay.channels.pop(self.number, None)

    def close_socket(self):
        self.relay.set_interest(self.socket, 0, None)
        self.socket.close()
        self.backlog.clear()


def read_string(message, offset):
    """The string at the offset (RFC 4251, section 5), and the offset of its end."""
    (size,) = struct.unpack_from(">I", message, offset)
    return message[offset + 4 : offset + 4 + size], offset + 4 + size
