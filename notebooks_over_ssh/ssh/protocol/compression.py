"""Compression that starts after the login (zlib@openssh.com, PROTOCOL section 1.2 of OpenSSH), where the settings ask for it."""

import zlib

import paramiko
from paramiko.compress import ZlibCompressor

from notebooks_over_ssh.ssh.protocol.packet_encryption import MAX_PACKET_BYTES

DELAYED_ZLIB = "zlib@openssh.com"


class Decompressor:
    """Expands the packets of one direction."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    def __call__(self, data: bytes) -> bytes:
        """The payload of one packet. Raises SSHException where it is larger than a packet may be: zlib makes 1 MB of 1 KB."""
        payload = self._stream.decompress(data, MAX_PACKET_BYTES)
        if self._stream.unconsumed_tail:
            raise paramiko.SSHException("it sent a packet that expands to more than a packet may be")
        return payload


# zlib without a suffix starts before the server is known, and is not here.
COMPRESSION = {DELAYED_ZLIB: (ZlibCompressor, Decompressor), "none": (None, None)}
