"""The fields of a packet (RFC 4251, section 5), read without a guess at what is missing."""

import paramiko


class Message(paramiko.Message):
    """A message that a peer sent.

    Paramiko's own fills a field that is cut off with zeros, so a list that claims 2**32 entries has all of them. And it
    raises UnicodeDecodeError for text in another encoding, of which servers send some to be shown.
    """

    def get_bytes(self, n: int) -> bytes:
        """The next n bytes. Raises SSHException where the message ends before."""
        data: bytes = self.packet.read(n)
        if len(data) < n:
            raise paramiko.SSHException("it sent a packet that ends too early")
        return data

    def get_text(self) -> str:
        """The next string; what is not UTF-8 in it is replaced by U+FFFD."""
        return self.get_bytes(self.get_int()).decode("utf-8", "replace")
