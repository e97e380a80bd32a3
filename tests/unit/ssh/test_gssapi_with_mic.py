"""The messages of gssapi-with-mic (RFC 4462, section 3), with a security context of the test's own."""

import paramiko
import pytest

from notebooks_over_ssh.ssh.gssapi_context import KERBEROS_OID_DER, SecurityContext
from notebooks_over_ssh.ssh.gssapi_with_mic import (
    MAX_TOKEN_BYTES,
    MAX_TOKENS,
    MSG_MIC,
    MSG_RESPONSE,
    MSG_TOKEN,
    GSSAPIExchange,
)

SESSION_ID = b"session id"
SIGNED_DATA = (
    b"\x00\x00\x00\x0asession id\x32"
    b"\x00\x00\x00\x05alice\x00\x00\x00\x0essh-connection\x00\x00\x00\x0fgssapi-with-mic"
)


class EchoContext(SecurityContext):
    """A context that returns each token until the server's last one."""

    def __init__(self, last: bytes = b"last") -> None:
        self.last = last
        self.completed = False

    @property
    def is_complete(self) -> bool:
        return self.completed

    def step(self, token: bytes | None) -> bytes | None:
        self.completed = token == self.last
        return None if self.completed else token or b"first"

    def sign(self, data: bytes) -> bytes:
        return b"signed " + data


def message(content: bytes) -> paramiko.Message:
    """A message of the server with one string."""
    result = paramiko.Message()
    result.add_string(content)
    result.rewind()
    return result


def parse(reply: paramiko.Message) -> tuple[int, bytes]:
    """The type of a reply, and its one string."""
    copy = paramiko.Message(reply.asbytes())
    return copy.get_byte()[0], copy.get_binary()


def exchange() -> GSSAPIExchange:
    return GSSAPIExchange("alice", SESSION_ID, EchoContext())


def test_login() -> None:
    """Tokens are exchanged until the context is complete; then the login is signed with the session's identifier."""
    login = exchange()
    assert [parse(reply) for reply in login.reply(MSG_RESPONSE, message(KERBEROS_OID_DER))] == [
        (MSG_TOKEN, b"first")
    ]
    assert [parse(reply) for reply in login.reply(MSG_TOKEN, message(b"next"))] == [(MSG_TOKEN, b"next")]
    assert [parse(reply) for reply in login.reply(MSG_TOKEN, message(b"last"))] == [
        (MSG_MIC, b"signed " + SIGNED_DATA)
    ]


def test_request() -> None:
    """The request offers Kerberos as its only mechanism."""
    request = paramiko.Message()
    GSSAPIExchange.add_mechanisms(request)
    assert request.asbytes() == b"\x00\x00\x00\x01\x00\x00\x00\x0b" + KERBEROS_OID_DER


@pytest.mark.parametrize(
    "messages",
    [
        [(MSG_RESPONSE, b"another mechanism")],
        [(MSG_TOKEN, b"early")],
        [(MSG_RESPONSE, KERBEROS_OID_DER), (MSG_RESPONSE, KERBEROS_OID_DER)],
        [(MSG_RESPONSE, KERBEROS_OID_DER), (MSG_TOKEN, b"last"), (MSG_TOKEN, b"late")],
        [(MSG_RESPONSE, KERBEROS_OID_DER), (MSG_TOKEN, b"x" * (MAX_TOKEN_BYTES + 1))],
        [(MSG_RESPONSE, KERBEROS_OID_DER), *[(MSG_TOKEN, b"endless")] * (MAX_TOKENS + 1)],
        [(63, b"")],
    ],
    ids=["mechanism", "early", "twice", "late", "large", "endless", "type"],
)
def test_hostile_server(messages: list[tuple[int, bytes]]) -> None:
    """The last of these messages ends the login, and none of the others."""
    login = exchange()
    *before, last = messages
    for message_type, content in before:
        login.reply(message_type, message(content))
    with pytest.raises(paramiko.SSHException, match="unexpected message"):
        login.reply(last[0], message(last[1]))
