"""Which versions of TLS the server speaks, with the Python of this environment and with the system's own."""

import socket
import ssl
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks_over_ssh.sandbox.conda_environments import ensure_environment
from tests.journey.program import free_port
from tests.openssh.network import LOOPBACK
from tests.scripts.here import VALIDITY, run_here

SYSTEM_PYTHON = Path("/usr/bin/python3")
HASH = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdA$aGFzaA"
VERSIONS = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
TIMEOUT = 10.0  # seconds


@pytest.fixture(params=["own", "system"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An environment with Jupyter, which runs with the Python of the tests or with that of the system."""
    prefix = tmp_path / "environment"
    ensure_environment(prefix)
    if request.param == "system":
        here = prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        found = SYSTEM_PYTHON.resolve()
        if found.name != here.name:
            pytest.skip(f"needs {SYSTEM_PYTHON} to be {here.name}, for which the packages are installed")
        (prefix / "bin/python").unlink()
        (prefix / "bin/python").symlink_to(SYSTEM_PYTHON)
        (prefix / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    return prefix


@pytest.fixture
def port(environment: Path, tmp_path: Path) -> Iterator[int]:
    """The port of a Jupyter server that runs in the environment."""
    home = tmp_path / "home"
    home.mkdir()
    jupyter = {"application": "server", "directory": "~"}
    protection = {"password_hash": HASH, "certificate": "make", **VALIDITY}
    assert (
        run_here(home, "configure_security", jupyter | protection, environment=environment)["problem"] == ""
    )
    wanted = {"nice": 0, "remote_port": free_port(), "start_timeout_s": 60, "arguments": []}
    started = run_here(home, "start_server", jupyter | wanted, environment=environment)
    try:
        assert started["problem"] == "", started
        yield started["port"]
    finally:
        run_here(home, "stop_server", {"even_if_busy": True, "stop_timeout_s": 10})


def test_versions(port: int) -> None:
    """The server refuses TLS 1.0 and 1.1 with an alert and speaks 1.2 and 1.3, whatever its Python says of its minimum."""
    outcomes = {version: _handshake(port, version) for version in VERSIONS}
    refused = {version for version, outcome in outcomes.items() if "ALERT" in outcome}
    assert refused == {ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1}, outcomes
    assert outcomes[ssl.TLSVersion.TLSv1_2] == "TLSv1.2"
    assert outcomes[ssl.TLSVersion.TLSv1_3] == "TLSv1.3"


def _handshake(port: int, version: ssl.TLSVersion) -> str:
    """What a client that offers this version alone ends up with: the version, or the name of OpenSSL's error."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE  # nothing is sent over it
    client.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = version
    try:
        with (
            socket.create_connection((LOOPBACK, port), TIMEOUT) as plain,
            client.wrap_socket(plain) as secure,
        ):
            return str(secure.version())
    except ssl.SSLError as error:
        return str(error.reason)
