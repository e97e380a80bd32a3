"""An ssh-agent(1) that only this process uses, for keys with which only OpenSSH's programs can sign.

The messages are those of draft-ietf-sshm-ssh-agent, and of OpenSSH's PROTOCOL.agent.
"""

import contextlib
import os
import re
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import paramiko

SSH_AGENT_SUCCESS = 6
SSH_AGENTC_SIGN_REQUEST = 13
SSH_AGENT_SIGN_RESPONSE = 14
SSH_AGENTC_ADD_SMARTCARD_KEY = 20
SSH_AGENTC_ADD_ID_CONSTRAINED = 25
SSH_AGENT_CONSTRAIN_EXTENSION = 255
SK_PROVIDER = "sk-provider@openssh.com"
# Of the signature, by its algorithm; 0 for any other.
SIGN_FLAGS = {"rsa-sha2-256": 2, "rsa-sha2-512": 4}
MAX_REPLY_BYTES = 256 * 1024
# An authenticator waits for about 30 s to be touched; sshd's LoginGraceTime is 120 s.
REPLY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
# SSH_ASKPASS_PROMPT is "none" for a message that needs no answer, such as the one that asks for a touch.
ASKPASS = """#!/bin/sh
[ "$SSH_ASKPASS_PROMPT" != none ] || exit 0
IFS= read -r pin < "${0%/*}/pin" && printf '%s\\n' "$pin"
"""
# Not a pattern of ssh-agent's -P.
PLAIN_PATH = re.compile(r"/[^*?!,]*")


class PrivateAgent:
    """The agent, over a connection to it. Its methods raise OSError or SSHException if the agent refuses or ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def add_security_key(self, private: bytes, provider: str) -> None:
        """Add a key with its comment, in the encoding of a key file; `provider` as in SecurityKeyProvider."""
        message = paramiko.Message()
        message.add_byte(bytes([SSH_AGENTC_ADD_ID_CONSTRAINED]))
        message.add_bytes(private)
        message.add_byte(bytes([SSH_AGENT_CONSTRAIN_EXTENSION]))
        message.add_string(SK_PROVIDER)
        message.add_string(provider)
        self._request(message, SSH_AGENT_SUCCESS)

    def add_token(self, library: str, pin: str) -> None:
        """Add the keys of a PKCS #11 token."""
        message = paramiko.Message()
        message.add_byte(bytes([SSH_AGENTC_ADD_SMARTCARD_KEY]))
        message.add_string(library)
        message.add_string(pin)
        self._request(message, SSH_AGENT_SUCCESS)

    def sign(self, public_key: bytes, data: bytes, algorithm: str) -> bytes:
        """The signature of the data; waits until the user has touched the authenticator, if the key requires that."""
        message = paramiko.Message()
        message.add_byte(bytes([SSH_AGENTC_SIGN_REQUEST]))
        message.add_string(public_key)
        message.add_string(data)
        message.add_int(SIGN_FLAGS.get(algorithm, 0))
        return self._request(message, SSH_AGENT_SIGN_RESPONSE).get_binary()

    def _request(self, message: paramiko.Message, expected: int) -> paramiko.Message:
        payload = message.asbytes()
        self._connection.sendall(struct.pack(">I", len(payload)) + payload)
        (size,) = struct.unpack(">I", self._receive(4))
        if not 1 <= size <= MAX_REPLY_BYTES:
            raise paramiko.SSHException("ssh-agent sent a reply of an invalid length")
        reply = paramiko.Message(self._receive(size))
        if reply.get_byte() != bytes([expected]):
            raise paramiko.SSHException("ssh-agent refused the request")
        return reply

    def _receive(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            block = self._connection.recv(size - len(received))
            if not block:
                raise EOFError
            received += block
        return received


def library_path(value: str) -> str:
    """The library that an option of ssh_config(5) names, by its path or by `$` and a variable; "" if unset."""
    return os.environ.get(value[1:].strip("{}"), "") if value.startswith("$") else value


@contextlib.contextmanager
def private_agent(provider: str, pin: str = "") -> Iterator[PrivateAgent]:
    """Run an agent in the body, which may load the library `provider` for its keys. Raises OSError.

    It gets the `pin` once, if a security key requires one.
    """
    allowed = os.path.realpath(provider)
    options = ["-P", allowed] if provider.startswith("/") and PLAIN_PATH.fullmatch(allowed) else []
    # The folder has mode 0700.
    with tempfile.TemporaryDirectory(prefix="agent-") as folder, contextlib.ExitStack() as stack:
        path = Path(folder) / "socket"
        environment = stack.enter_context(_askpass(Path(folder), pin)) if pin else {}
        process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(path), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        assert process.stdout is not None
        try:
            # It prints the path once it listens.
            process.stdout.readline()
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(REPLY_TIMEOUT_S)
                connection.connect(str(path))
                yield PrivateAgent(connection)
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)
            process.stdout.close()


@contextlib.contextmanager
def _askpass(folder: Path, pin: str) -> Iterator[dict[str, str]]:
    """The variables with which ssh-agent gets the PIN, by a program that reads it from a pipe with a name."""
    pipe, program = folder / "pin", folder / "askpass"
    os.mkfifo(pipe, 0o600)
    program.write_text(ASKPASS)
    program.chmod(0o700)
    # Open for both, so that neither end waits for the other.
    descriptor = os.open(pipe, os.O_RDWR)
    try:
        os.write(descriptor, pin.encode() + b"\n")
        yield {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
    finally:
        os.close(descriptor)
