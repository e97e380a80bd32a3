"""With a wrong clock on the host or this machine the server is recognized by its certificate, and the clock is named
where it matters.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.https_probe import probe
from tests.kit.sshd import Network

OFFSETS = ("+30", "-30", "+3d", "-3d")


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


@pytest.fixture(autouse=True)
def _no_shared_memory() -> Iterator[None]:
    """Remove the shared memory of processes with a moved clock that were killed: libfaketime leaves it behind."""
    yield
    for pattern in ("faketime_shm_*", "sem.faketime_sem_*"):
        for path in Path("/dev/shm").glob(pattern):
            if not psutil.pid_exists(int(path.name.rpartition("_")[2])):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()


def moved_clock(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is off by `offset`, such as -30 (seconds) or +3d.

    Skips the test where libfaketime is missing.
    """
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        pytest.skip("needs libfaketime (Debian's package of that name)")
    # Without NO_FAKE_STAT file times would shift too. FAKETIME_DONT_FAKE_MONOTONIC of release 0.9.10 makes
    # clock_nanosleep(2) fail.
    return {"LD_PRELOAD": str(libraries[0]), "FAKETIME": offset, "NO_FAKE_STAT": "1"}


@pytest.mark.parametrize("offset", OFFSETS)
def test_certificate_made_with_a_wrong_clock(network: Network, offset: str) -> None:
    """A certificate made on a host with a wrong clock is valid on this machine at once."""
    move_the_hosts_clock(network, offset)
    result = assert_success(network.user.fab("up", "--detach"))
    assert ("clock" in result.stderr) == offset.endswith("d"), result.stderr
    session = network.user.only_session()
    reply = probe(network.user, session["local_port"])
    assert reply.certificate_sha256 == session["certificate_sha256"]
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


@pytest.mark.parametrize("offset", OFFSETS)
def test_clock_that_moved_later(network: Network, offset: str) -> None:
    """A certificate from before the host's clock changed stays valid: the server starts at once, and the tunnel
    opens.
    """
    assert_success(network.user.fab("secure"))
    move_the_hosts_clock(network, offset)
    assert_success(network.user.fab("up", "--detach", INVOKE_NOTEBOOK_START_TIMEOUT_S="20"))
    assert network.user.only_session()["tunnel"] == "open"
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


def test_clock_of_this_machine(network: Network) -> None:
    """`up` with a local clock that is years behind replaces no certificate and starts no server: it names both
    clocks.
    """
    assert_success(network.user.fab("secure"))
    result = network.user.fab("up", "--detach", **moved_clock("-3y"))
    assert_error(
        result, 1, "is not valid before ", "the clock of localhost is 3 years ahead of this machine's"
    )
    assert network.user.status() == []
    assert "password and certificate unchanged" in assert_success(network.user.fab("secure")).stdout


def test_tunnel_at_another_time(network: Network) -> None:
    """With a wrong clock the user's own server is not reported as an impostor; with the right time the tunnel opens."""
    assert_success(network.user.fab("secure", "serve"))
    for _ in ("closed", "open"):
        result = network.user.fab("tunnel", "--detach", **moved_clock("-3y"))
        assert_error(
            result, 6, "is not valid before ", "the clock of localhost is 3 years ahead of this machine's"
        )
        assert "not your server" not in result.stderr
        assert_success(network.user.fab("tunnel", "--detach"))
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


def test_expired_certificate(network: Network) -> None:
    """An expired certificate is reported as such, without mentioning clocks; `up` makes a new one."""
    assert_success(network.user.fab("secure"))
    move_the_hosts_clock(network, "+400d")
    later = moved_clock("+400d")
    assert_success(network.user.fab("serve", **later))
    result = assert_error(
        network.user.fab("tunnel", "--detach", **later), 6, "expired on ", "secure --renew --restart"
    )
    assert "the clock of" not in result.stderr and "not your server" not in result.stderr
    assert_success(network.user.fab("stop", **later))
    assert "expired on " in assert_success(network.user.fab("up", "--detach", **later)).stdout
    assert_success(network.user.fab("stop", **later))
    network.wait_until_empty()


def move_the_hosts_clock(network: Network, offset: str) -> None:
    """Shift the clock of everything that starts on the host from now on."""
    network.host.stop()
    network.host.start(network.environment(**moved_clock(offset)))
