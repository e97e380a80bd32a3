"""Only algorithms that OpenSSH still offers by default are offered, and a server without any of them gets its own
error.
"""

import re
import runpy
import shutil
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.kex_gex import KexGexSHA256
from paramiko.kex_mlkem import KexMLKEM768X25519

from notebooks_over_ssh.ssh import algorithms
from notebooks_over_ssh.ssh.algorithms import NoCommonAlgorithm
from notebooks_over_ssh.ssh.protocol.message import Message
from notebooks_over_ssh.ssh.protocol.transport import Transport
from notebooks_over_ssh.util import cpu
from notebooks_over_ssh.util.cpu import has_aes_instructions
from tests.kit.mitm_sshd import AsyncioThread, mitm_server
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, known_hosts_line, make_key, public_key

WEAK = re.compile(r"sha1|md5|cbc|3des|arcfour|dss|^ssh-rsa|^zlib$|group1-|-96|umac-64|v00@openssh\.com\.")
POST_QUANTUM = "mlkem768x25519-sha256"
KEYS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)
AES_GCM, CHACHA = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"), ("chacha20-poly1305@openssh.com",)
OFFERED = {
    "kex": (
        *("curve25519-sha256", "curve25519-sha256@libssh.org"),
        *("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
        *("diffie-hellman-group16-sha512", "diffie-hellman-group-exchange-sha256"),
        "diffie-hellman-group14-sha256",
    ),
    "keys": KEYS,
    "pubkeys": (*KEYS, "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
    "ciphers": (
        *(AES_GCM + CHACHA if has_aes_instructions() else CHACHA + AES_GCM),
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
    "md5": ("MAC", "Ciphers aes128-ctr\nMACs hmac-md5,hmac-md5-96"),
    "sha1": ("MAC", "Ciphers aes128-ctr\nMACs hmac-sha1,hmac-sha1-96"),
    "umac": ("MAC", "Ciphers aes128-ctr\nMACs umac-64@openssh.com"),
    "group1": ("key exchange method", "KexAlgorithms diffie-hellman-group1-sha1,diffie-hellman-group14-sha1"),
    "sntrup": ("key exchange method", "KexAlgorithms sntrup761x25519-sha512@openssh.com"),
    "gex-sha1": ("key exchange method", "KexAlgorithms diffie-hellman-group-exchange-sha1"),
}
SHARED = {
    "gcm": "Ciphers aes256-gcm@openssh.com",
    "gcm, other MACs": "Ciphers aes128-gcm@openssh.com\nMACs umac-128-etm@openssh.com",
    "chacha": "Ciphers chacha20-poly1305@openssh.com",
    "chacha, other MACs": "Ciphers chacha20-poly1305@openssh.com\nMACs umac-128-etm@openssh.com",
    "ctr-etm": "Ciphers aes128-ctr\nMACs hmac-sha2-512-etm@openssh.com",
    "rfc8731": "KexAlgorithms curve25519-sha256",
    "gex": "KexAlgorithms diffie-hellman-group-exchange-sha256",
    "group14": "KexAlgorithms diffie-hellman-group14-sha256",
}


def test_offered_algorithms() -> None:
    """Nothing with SHA-1, MD5, CBC, 64-bit blocks, DSA or a small group is offered; AEAD and -etm come first."""
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


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu sse2 pclmulqdq aes avx2\n", AES_GCM + CHACHA),
        ("Features\t: fp asimd aes pmull\n", AES_GCM + CHACHA),
        ("Features\t: fp asimd cpuid\nmodel name\t: a fast aes\n", CHACHA + AES_GCM),
        ("flags\t\t: fpu vaes_of_another_name\n", CHACHA + AES_GCM),
        (None, CHACHA + AES_GCM),
    ],
)
def test_preference_by_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpuinfo: str | None, expected: tuple[str, ...]
) -> None:
    """AES-GCM comes before ChaCha20 if the processor has instructions for AES, otherwise after it."""
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(f"processor\t: 0\n{cpuinfo}\nprocessor\t: 1\n")
    monkeypatch.setattr(cpu, "CPUINFO", file)
    monkeypatch.setattr("sys.platform", "linux")
    assert runpy.run_path(algorithms.__file__)["CIPHERS"][:3] == expected


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


def test_post_quantum_server(client: Client, loop: AsyncioThread) -> None:
    """A server with nothing but the post-quantum key exchange and ChaCha20 is connected to, with strict key exchange,
    and a second key exchange succeeds; if ssh_config sets KexAlgorithms without it, it is not used.
    """
    key = client.folder / "host_key"
    make_key(key)
    options: Any = {"kex_algs": [POST_QUANTUM], "encryption_algs": CHACHA}
    with mitm_server(loop, key, **options) as (port, _):
        client.write_known_hosts(known_hosts_line(port, public_key(key)))
        with client.connected(f"{LOOPBACK}:{port}") as connection:
            transport = connection.transport
            assert transport.agreed_on_strict_kex
            transport.renegotiate_keys()
            # The exchange hash of the first key exchange remains the session's identifier (RFC 4253, section 7.2).
            assert transport.session_id != transport.H
            assert connection.is_connected
        lines = (f"HostName {LOOPBACK}", f"Port {port}", "KexAlgorithms curve25519-sha256")
        ssh_config = "Host site\n" + "".join(f"    {line}\n" for line in lines)
        client.expect_error("site", 3, "no matching key exchange method", ssh_config=ssh_config)


def _knows_strict_kex() -> bool:
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    with open(sshd, "rb") as program:
        return b"kex-strict-s-v00@openssh.com" in program.read()


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
