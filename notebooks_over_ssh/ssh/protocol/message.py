"""The fields of a packet (RFC 4251, section 5), with bounds checks."""

import paramiko


class Message(paramiko.Message):
    """A message from a peer.

    Paramiko's own pads a truncated field with zeros, so that a list may claim 2**32 entries, and raises
    UnicodeDecodeError for text that is not UTF-8, which servers do send in banners and prompts.
    """

    def get_bytes(self, n: int) -> bytes:
        """The next n bytes. Raises SSHException if the message is shorter."""
        data: bytes = self.packet.read(n)
        if len(data) < n:
            raise paramiko.SSHException("truncated packet received")
        return data

    def get_text(self) -> str:
        """The next string; invalid UTF-8 becomes U+FFFD."""
        return self.get_bytes(self.get_int()).decode("utf-8", "replace")
