"""Carries connections to ports of this host's loopback over standard input and output, where sshd itself forwards none.

It speaks the channel messages of RFC 4254, section 5, as far as direct-tcpip needs them (section 7.2), each behind its
length (uint32). A connection's window bounds what is kept for it. A write to standard output waits until it is taken, and
nothing else is read meanwhile; the other end reads always, so that is no deadlock. It ends with its standard input.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import collections
import os
import selectors
import socket
import struct

from common import answer

OPEN, OPEN_CONFIRMATION, OPEN_FAILURE, WINDOW_ADJUST, DATA, EOF, CLOSE = 90, 91, 92, 93, 94, 96, 97
PROHIBITED, CONNECT_FAILED, RESOURCE_SHORTAGE = 1, 2, 4
STDIN, STDOUT = 0, 1
LOOPBACK = b"127.0.0.1"
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
WINDOW = 512 * 1024  # bytes that may come for a connection before its port has taken them
PACKET = 32768  # bytes of data in one message
FRAME_LIMIT = PACKET + 1024
CHANNEL_LIMIT = 1024
BLOCK = 256 * 1024


def main(parameters):
    answer(problem="")
    Relay().run()


class Relay(object):
    """All connections, and the one thread that serves them."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.channels = {}
        self.unread = bytearray()
        self.ended = False

    def run(self):
        self.selector.register(STDIN, READ, self.read_messages)
        while not self.ended:
            for key, events in self.selector.select():
                key.data(events)

    def watch(self, watched, events, handler):
        """Call the handler when the socket can be read or written; with no events never."""
        known = watched in self.selector.get_map()
        if events and known:
            self.selector.modify(watched, events, handler)
        elif events:
            self.selector.register(watched, events, handler)
        elif known:
            self.selector.unregister(watched)

    def read_messages(self, _):
        block = os.read(STDIN, BLOCK)
        self.unread += block
        self.ended = not block
        while len(self.unread) >= 4:
            (size,) = struct.unpack_from(">I", self.unread)
            if not 5 <= size <= FRAME_LIMIT:
                raise RuntimeError("a message of %d bytes" % size)
            if len(self.unread) < 4 + size:
                break
            message = bytes(self.unread[4 : 4 + size])
            del self.unread[: 4 + size]
            self.take(message)

    def take(self, message):
        kind = message[0]
        if kind == OPEN:
            return self.open(message)
        channel = self.channels.get(struct.unpack_from(">I", message, 1)[0])
        if channel is not None:
            channel.take(kind, message)

    def open(self, message):
        _, at = read_string(message, 1)
        number, window, packet = struct.unpack_from(">III", message, at)
        host, at = read_string(message, at + 12)
        (port,) = struct.unpack_from(">I", message, at)
        if host != LOOPBACK:
            return self.refuse(number, PROHIBITED)
        if len(self.channels) >= CHANNEL_LIMIT:
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
        self.taken = 0
        self.is_open = False
        self.eof_received = self.eof_sent = False
        self.close_received = self.close_sent = False
        self.socket = socket.socket()
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.connect_ex((LOOPBACK.decode(), port))
            self.relay.watch(self.socket, WRITE, self.connected)
        except BaseException:
            self.socket.close()
            raise

    def connected(self, _):
        """The attempt to connect has ended (connect(2), EINPROGRESS)."""
        if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.leave_socket()
            return self.relay.refuse(self.number, CONNECT_FAILED)
        self.is_open = True
        self.relay.send(OPEN_CONFIRMATION, self.number, struct.pack(">III", self.number, WINDOW, PACKET))
        self.watch()

    def take(self, kind, message):
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
                self.close(cut_off=not self.eof_received)
        self.watch()

    def watch(self):
        if self.close_sent or not self.is_open:
            return
        events = READ if self.window > 0 and not self.eof_sent and not self.close_received else 0
        self.relay.watch(self.socket, events | (WRITE if self.backlog else 0), self.ready)

    def ready(self, events):
        if events & WRITE:
            self.write()
        if events & READ and not self.close_sent:
            self.read()
        self.watch()

    def read(self):
        try:
            data = self.socket.recv(min(self.window, self.packet))
        except BlockingIOError:
            return
        except OSError:
            self.close(cut_off=True)
            return
        if data:
            self.window -= len(data)
            self.relay.send(DATA, self.number, struct.pack(">I", len(data)) + data)
            return
        self.eof_sent = True
        self.relay.send(EOF, self.number)
        self.close_when_both_ended()

    def write(self):
        """Give the port what has come for it, and let as much more come."""
        if self.close_sent:
            return
        try:
            while self.backlog:
                sent = self.socket.send(self.backlog[0])
                self.taken += sent
                if sent < len(self.backlog[0]):
                    self.backlog[0] = self.backlog[0][sent:]
                else:
                    self.backlog.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.close(cut_off=True)
            return
        if self.taken >= WINDOW // 4 and not self.eof_received:
            self.relay.send(WINDOW_ADJUST, self.number, struct.pack(">I", self.taken))
            self.taken = 0
        if self.backlog or not self.eof_received:
            return
        if self.close_received:
            self.close(cut_off=False)
            return
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is cut off, which its next read tells
        self.close_when_both_ended()

    def close_when_both_ended(self):
        if self.eof_sent and self.eof_received and not self.backlog:
            self.close(cut_off=False)

    def close(self, cut_off):
        """Close both sides; one that was cut off resets, so that nobody takes what came for complete (SO_LINGER in socket(7))."""
        if not self.close_sent:
            self.close_sent = True
            if cut_off:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.leave_socket()
            self.relay.send(CLOSE, self.number)
        if self.close_received:
            self.relay.channels.pop(self.number, None)

    def leave_socket(self):
        self.relay.watch(self.socket, 0, None)
        self.socket.close()
        self.backlog.clear()


def read_string(message, at):
    """A string of RFC 4251, section 5, and where it ends."""
    (size,) = struct.unpack_from(">I", message, at)
    return message[at + 4 : at + 4 + size], at + 4 + size
