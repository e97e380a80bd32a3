"""Whether a hop accepts a key is asked before the key signs, and only the answer to that question counts."""

import threading
from collections.abc import Callable
from typing import Any

import paramiko
import pytest

from notebooks_over_ssh.ssh.hardware_key import HardwareKey
from notebooks_over_ssh.ssh.protocol.message import Message
from notebooks_over_ssh.ssh.security_keys import ED25519
from notebooks_over_ssh.ssh.userauth import UserAuth


def strings(*fields: bytes) -> bytes:
    """The fields as strings of RFC 4251, section 5."""
    message = paramiko.Message()
    for field in fields:
        message.add_string(field)
    return message.asbytes()


BLOB = strings(ED25519.encode(), bytes(32), b"ssh:")
REPLY = strings(ED25519.encode(), BLOB)
WRONG_REPLIES = {
    "another key": strings(ED25519.encode(), BLOB[:-1] + b"?"),
    "another algorithm": strings(b"ssh-ed25519", BLOB),
    "truncated": REPLY[:-1],
    "empty": b"",
    "a length of 4 GB": b"\xff" * 4,
}


class AnsweringTransport:
    """A transport without a connection, which answers each request at once."""

    auth_timeout_s = 10
    auth_timeout = 10

    def __init__(self, answer: Callable[[UserAuth], None]) -> None:
        self.lock = threading.Lock()
        self.sent: list[bytes] = []
        self.answer = answer
        self.auth = UserAuth(self)

    def is_active(self) -> bool:
        """Whether it is connected."""
        return True

    def get_exception(self) -> Exception | None:
        """Why the last request failed."""
        return paramiko.AuthenticationException("refused")

    def _send_message(self, message: paramiko.Message) -> None:
        self.sent.append(message.asbytes())
        self.answer(self.auth)


def pk_ok(reply: bytes) -> Callable[[UserAuth], None]:
    """Answers with SSH_MSG_USERAUTH_PK_OK."""
    return lambda auth: auth._parse_userauth_info_request(Message(reply))


def refuse(auth: Any) -> None:
    """Answer with SSH_MSG_USERAUTH_FAILURE."""
    auth.auth_event.set()


def never_sign(data: bytes, algorithm: str, pin: str) -> bytes:
    """Fail: nothing may be signed."""
    raise AssertionError("the key was asked to sign")


KEY = HardwareKey(BLOB, never_sign, requires_touch=True, failure="not touched")


def test_accepted() -> None:
    """The query has no signature (RFC 4252, section 7), and returns once the key is accepted."""
    transport = AnsweringTransport(pk_ok(REPLY))
    transport.auth.query_public_key("me", KEY)
    assert transport.sent == [
        b"\x32" + strings(b"me", b"ssh-connection", b"publickey") + b"\0" + strings(ED25519.encode(), BLOB)
    ]


def test_refused() -> None:
    """A refusal is raised, after an accepted key too."""
    transport = AnsweringTransport(pk_ok(REPLY))
    transport.auth.query_public_key("me", KEY)
    transport.answer = refuse
    with pytest.raises(paramiko.AuthenticationException):
        transport.auth.query_public_key("me", KEY)


@pytest.mark.parametrize("name", WRONG_REPLIES)
def test_wrong_reply(name: str) -> None:
    """A reply about anything else, or a malformed one, ends the connection."""
    transport = AnsweringTransport(pk_ok(WRONG_REPLIES[name]))
    with pytest.raises(paramiko.SSHException):
        transport.auth.query_public_key("me", KEY)


def test_unasked() -> None:
    """A reply without a query ends the connection, and a login after it is not taken for a success."""
    transport = AnsweringTransport(refuse)
    with pytest.raises(paramiko.AuthenticationException):
        transport.auth.send_auth_request("me", "publickey", lambda message: None)
    with pytest.raises(paramiko.SSHException, match="unexpected"):
        pk_ok(REPLY)(transport.auth)
    with pytest.raises(paramiko.AuthenticationException):
        transport.auth.send_auth_request("me", "publickey", lambda message: None)
