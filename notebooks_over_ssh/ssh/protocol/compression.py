"""Compression that starts after the login: zlib@openssh.com (OpenSSH PROTOCOL, section 1.2)."""

import zlib

import paramiko
from paramiko.compress import ZlibCompressor

from notebooks_over_ssh.ssh.protocol.packet_encryption import MAX_PACKET_BYTES

DELAYED_ZLIB = "zlib@openssh.com"


class Decompressor:
    """Decompresses the packets of one direction."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    def __call__(self, data: bytes) -> bytes:
        """The payload of one packet. Raises SSHException if it exceeds MAX_PACKET_BYTES: zlib turns 1 KB into 1 MB."""
        payload = self._stream.decompress(data, MAX_PACKET_BYTES)
        if self._stream.unconsumed_tail:
            raise paramiko.SSHException("decompressed packet too large")
        return payload


# Without "zlib", which starts before the server is authenticated.
COMPRESSION = {DELAYED_ZLIB: (ZlibCompressor, Decompressor), "none": (None, None)}
