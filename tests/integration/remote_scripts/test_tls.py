"""The TLS versions of the server, with the Python of this environment and with the system's own."""

import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.local_scripts import configure, run_locally
from tests.kit.ports import free_port
from tests.kit.sshd import LOOPBACK

VERSIONS = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
TIMEOUT_S = 10.0


@pytest.fixture
def port(host_environment: Path, tmp_path: Path) -> Iterator[int]:
    """The port of a Jupyter server in the host's environment."""
    home = tmp_path / "home"
    home.mkdir()
    jupyter = {"application": "server", "directory": "~"}
    assert configure(home, application="server")["problem"] == ""
    parameters = {"nice": 0, "remote_port": free_port(), "start_timeout_s": 60, "arguments": [], "prefix": []}
    started = run_locally(home, "start_server", jupyter | parameters)
    try:
        assert started["problem"] == "", started
        yield started["port"]
    finally:
        run_locally(home, "stop_server", {"force": True, "stop_timeout_s": 10})


def test_versions(port: int) -> None:
    """The server refuses TLS 1.0 and 1.1 with an alert and accepts 1.2 and 1.3, whatever its Python's minimum."""
    outcomes = {version: _handshake(port, version) for version in VERSIONS}
    refused_versions = {version for version, outcome in outcomes.items() if "ALERT" in outcome}
    assert refused_versions == {ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1}, outcomes
    assert outcomes[ssl.TLSVersion.TLSv1_2] == "TLSv1.2"
    assert outcomes[ssl.TLSVersion.TLSv1_3] == "TLSv1.3"


def _handshake(port: int, version: ssl.TLSVersion) -> str:
    """The result of a handshake with this version only: the version, or the name of OpenSSL's error."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE  # nothing is sent over it
    client.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = version
    try:
        with (
            socket.create_connection((LOOPBACK, port), TIMEOUT_S) as plain,
            client.wrap_socket(plain) as secure,
        ):
            return str(secure.version())
    except ssl.SSLError as error:
        return str(error.reason)
