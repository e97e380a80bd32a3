"""Only algorithms that OpenSSH still offers by default are offered, and a server without any of them gets its own
error.
"""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext

import paramiko
import pytest
from paramiko.kex_gex import KexGexSHA256
from paramiko.kex_mlkem import KexMLKEM768X25519

from notebooks_over_ssh.ssh.algorithms import NoCommonAlgorithm
from notebooks_over_ssh.ssh.protocol.message import Message
from notebooks_over_ssh.ssh.protocol.transport import Transport
from tests.kit.cli import run
from tests.kit.ports import free_port
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK
from tests.kit.wait import wait_until

TIMEOUT_S = 10
WEAK = re.compile(r"sha1|md5|cbc|3des|arcfour|dss|^ssh-rsa|^zlib$|group1-|-96|umac-64|v00@openssh\.com\.")
POST_QUANTUM = "mlkem768x25519-sha256"
KEYS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)
OFFERED = {
    "kex": (
        *("curve25519-sha256", "curve25519-sha256@libssh.org"),
        *("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
        *("diffie-hellman-group16-sha512", "diffie-hellman-group-exchange-sha256"),
        "diffie-hellman-group14-sha256",
    ),
    "keys": KEYS,
    "pubkeys": KEYS,
    "ciphers": (
        *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
        *("aes128-ctr", "aes192-ctr", "aes256-ctr"),
    ),
    "macs": (
        *("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
        *("hmac-sha2-256", "hmac-sha2-512"),
    ),
    "compression": ("none",),
}
LACKS = {
    "3des": ("cipher", "Ciphers 3des-cbc"),
    "cbc": ("cipher", "Ciphers aes128-cbc,aes256-cbc"),
    "chacha20": ("cipher", "Ciphers chacha20-poly1305@openssh.com"),
    "md5": ("MAC", "Ciphers aes128-ctr\nMACs hmac-md5,hmac-md5-96"),
    "sha1": ("MAC", "Ciphers aes128-ctr\nMACs hmac-sha1,hmac-sha1-96"),
    "umac": ("MAC", "Ciphers aes128-ctr\nMACs umac-64@openssh.com"),
    "group1": ("key exchange method", "KexAlgorithms diffie-hellman-group1-sha1,diffie-hellman-group14-sha1"),
    "gex-sha1": ("key exchange method", "KexAlgorithms diffie-hellman-group-exchange-sha1"),
}
SHARED = {
    "gcm": "Ciphers aes256-gcm@openssh.com",
    "ctr-etm": "Ciphers aes128-ctr\nMACs hmac-sha2-512-etm@openssh.com",
    "rfc8731": "KexAlgorithms curve25519-sha256",
    "gex": "KexAlgorithms diffie-hellman-group-exchange-sha256",
    "group14": "KexAlgorithms diffie-hellman-group14-sha256",
}


def test_offered_algorithms() -> None:
    """Nothing with SHA-1, MD5, CBC, 64-bit blocks, DSA or a small group is offered; AES-GCM and -etm come first."""
    client_end, server_end = socket.socketpair()
    with client_end, server_end:
        transport = Transport(client_end)
        offers = {
            "kex": tuple(name for name in transport.preferred_kex if name != POST_QUANTUM),
            "keys": tuple(name for name in transport.preferred_keys if "-cert-" not in name),
            "pubkeys": tuple(name for name in transport.preferred_pubkeys if "-cert-" not in name),
            "ciphers": transport.preferred_ciphers,
            "macs": transport.preferred_macs,
            "compression": transport.preferred_compression,
        }
        assert offers == OFFERED
        assert transport.preferred_kex[0] == (
            POST_QUANTUM if KexMLKEM768X25519.is_available() else OFFERED["kex"][0]
        )
        certified = [name for name in transport.preferred_keys if "-cert-" in name]
        assert {name.partition("-cert-")[0] for name in certified} <= set(OFFERED["keys"])
        assert not [name for names in (*offers.values(), certified) for name in names if WEAK.search(name)]
        assert set(transport.preferred_kex) <= set(Transport._kex_info)


@pytest.mark.parametrize("name", LACKS)
def test_no_common_algorithm(client: Client, name: str) -> None:
    """A server without a common algorithm is refused; the error lists both sides' algorithms, with a specific hint."""
    kind, options = LACKS[name]
    server = client.server("host", *options.split("\n"))
    client.write_known_hosts(server.known_hosts_line)
    problem = client.expect_error(
        server, 3, f"no matching {kind}", *options.split()[-1].split(","), "this program supports"
    )
    assert "ssh -W %h:%p" in problem.hint
    assert "try again" not in problem.hint


@pytest.mark.parametrize("name", SHARED)
def test_hardened_server(client: Client, name: str) -> None:
    """A server with a single secure algorithm of each kind is connected to, with strict key exchange where it has
    that.
    """
    server = client.server("host", *SHARED[name].split("\n"))
    client.write_known_hosts(server.known_hosts_line)
    with client.connected(server) as connection:
        assert connection.transport.agreed_on_strict_kex == _knows_strict_kex()


def _knows_strict_kex() -> bool:
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    with open(sshd, "rb") as program:
        return b"kex-strict-s-v00@openssh.com" in program.read()


@pytest.fixture
def tinysshd(client: Client) -> Iterator[int]:
    """The port of a tinysshd."""
    for program in ("tinysshd", "tinysshd-makekey", "tcpserver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    keys = client.folder / "tinyssh"
    run("tinysshd-makekey", "-q", str(keys))
    port = free_port()
    process = subprocess.Popen(
        ["tcpserver", "-HRDl0", LOOPBACK, str(port), "tinysshd", "-l", str(keys)],
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        with socket.socket() as knocking:
            return knocking.connect_ex((LOOPBACK, port)) == 0

    try:
        wait_until(answers, "tinysshd listens")
        yield port
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def test_tinysshd(client: Client, tinysshd: int) -> None:
    """tinysshd, which has only chacha20-poly1305, is refused with that error."""
    client.expect_error(
        f"{LOOPBACK}:{tinysshd}",
        3,
        "no matching cipher",
        "chacha20-poly1305@openssh.com",
        "aes128-gcm@openssh.com",
    )


@pytest.mark.parametrize(("bits", "is_refused"), [(1024, True), (2047, True), (2048, False), (4096, False)])
def test_small_group(monkeypatch: pytest.MonkeyPatch, bits: int, is_refused: bool) -> None:
    """A server that chooses a group below 2048 bits is refused."""
    primes: list[int] = []
    monkeypatch.setattr(
        KexGexSHA256, "_parse_kexdh_gex_group", lambda self, message: primes.append(message.get_mpint())
    )
    message = paramiko.Message()
    prime = 2 ** (bits - 1) + 1
    message.add_mpint(prime)
    message.add_mpint(2)
    method = Transport._kex_info["diffie-hellman-group-exchange-sha256"](None)
    expected = pytest.raises(paramiko.SSHException, match=f"{bits} bits") if is_refused else nullcontext()
    with expected:
        method._parse_kexdh_gex_group(Message(message.asbytes()))
    assert primes == ([] if is_refused else [prime])


def test_invalid_algorithm_names() -> None:
    """Of the algorithms that a server offers, only valid names are shown, and few: others could control or fill a
    terminal.
    """
    server_algorithms = [
        "\033[31mred",
        "a" * 65,
        "",
        "hint: run this",
        "good@example",
        *[f"n{number}" for number in range(100)],
    ]
    error = NoCommonAlgorithm("cipher", server_algorithms, ("aes128-ctr",))
    assert error.offered == "good@example, n0, n1, n2, n3, n4, n5, n6, …"
