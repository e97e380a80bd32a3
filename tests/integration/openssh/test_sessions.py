"""A whole session: secure, serve, tunnel, status, stop."""

import sys
from pathlib import Path

import pytest

from tests.kit.cli import assert_error, assert_success, port_in
from tests.kit.https_probe import get_api
from tests.kit.sshd import Network, Server

VENV = Path(sys.prefix)
NOISE = """\
echo "Welcome! There is a maintenance on Monday."
echo '0123456789abcdef {"problem": "jupyter-missing"}'
echo '{"problem": "", "host": "elsewhere", "port": 1, "pid": 2}'
echo "environment-missing"
echo "to be seen" >&2
printf 'a line without an end'
"""


def test_session(network: Network) -> None:
    """Each command works through both hops, and in the end nothing is left on either side."""
    secured = assert_success(network.user.fab("secure"))
    assert "the password is" in secured.stdout
    served = assert_success(network.user.fab("serve"))
    assert "is running on localhost, port " in served.stdout
    tunnel = assert_success(network.user.fab("tunnel", "--detach"))

    session = network.user.only_session()
    assert session["server"] == "running"
    assert session["tunnel"] == "open"
    assert session["local_port"] == port_in(tunnel)
    assert session["gateway"] == network.gateway_destination
    assert session["directory"] == str(network.remote_home / "mlpractical")
    fingerprint, answer = get_api(session["local_port"])
    assert fingerprint == session["certificate_sha256"]
    assert "version" in answer

    assert_success(network.user.fab("stop"))
    assert network.user.status() == []
    assert list((network.remote_home / "mlpractical").iterdir()) == []
    network.wait_until_empty()


@pytest.mark.parametrize(
    "notebook",
    [
        pytest.param({"environment": "~/a venv"}, id="the path of a venv"),
        pytest.param({"activate": f". '{VENV}/bin/activate'"}, id="a command"),
    ],
)
def test_other_environments(network: Network, notebook: dict[str, str]) -> None:
    """The server runs in an environment given by its path, or prepared by the user's own command."""
    (network.remote_home / "a venv").symlink_to(VENV)
    network.configure(notebook=notebook)
    assert_success(network.user.fab("secure", "serve"))
    session = network.user.only_session()
    server = next(process for process in network.processes() if process.pid == session["pid"])
    assert any(Path(word).parent.samefile(VENV / "bin") for word in server.cmdline() if word.startswith("/"))
    assert_success(network.user.fab("stop"))


def test_tasks_share_connections(network: Network) -> None:
    """Two tasks in one run share the login on each hop. All later commands use that of a background tunnel."""
    assert_success(network.user.fab("secure", "serve"))
    assert (network.gateway.logins(), network.host.logins()) == (1, 1)
    assert_success(network.user.fab("up", "--detach"))
    assert (network.gateway.logins(), network.host.logins()) == (2, 2)
    assert_success(network.user.fab("stop"))
    assert (network.gateway.logins(), network.host.logins()) == (2, 2)
    # Each connection logged in.
    assert (network.gateway.connections(), network.host.connections()) == (2, 2)


def test_unresolvable_host_name(network: Network) -> None:
    """Where the host's own name cannot be resolved from the gateway, the name that the user gave is used."""
    network.set_hostname("nowhere.invalid")
    assert_success(network.user.fab("up", "--detach"))
    session = network.user.only_session()
    assert (session["host"], session["server"], session["tunnel"]) == ("nowhere.invalid", "running", "open")
    assert get_api(session["local_port"])[0] == session["certificate_sha256"]
    assert_success(network.user.fab("secure", "--renew", "--restart"))
    session_after = network.user.only_session()
    assert (session_after["host"], session_after["server"], session_after["tunnel"]) == (
        "nowhere.invalid",
        "running",
        "open",
    )
    assert session_after["certificate_sha256"] != session["certificate_sha256"]
    assert get_api(session_after["local_port"])[0] == session_after["certificate_sha256"]
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


def test_host_name_of_another_machine(network: Network) -> None:
    """Where the host's own name leads to another machine, the name that the user gave is used."""
    other = Server("other host", network.folder / "other", network.authorized_keys, address="127.0.0.2")
    other.port = network.host.port
    other.start()
    try:
        network.set_hostname("127.0.0.2")
        assert_success(network.user.fab("secure", "serve"))
        assert_success(network.user.fab("stop"))
        assert other.logins() == 0
    finally:
        other.stop()
    network.wait_until_empty()


def test_printing_start_up_file(network: Network) -> None:
    """The output of a login shell's start-up file is not taken for a reply of the host."""
    (network.remote_home / ".bashrc").write_text(NOISE)
    config = network.folder / "ssh_config"
    config.write_text(network.ssh_config())
    if "Monday" not in network.run("ssh", "-F", str(config), "host", "true").stdout:
        pytest.skip("needs a login shell that reads .bashrc under sshd, as Debian's bash does")
    assert_error(network.user.fab("logs"), 1, "there is no log on", "serve")
    assert_success(network.user.fab("secure", "serve"))
    assert "Monday" not in assert_success(network.user.fab("logs")).stdout
    assert_success(network.user.fab("stop"))


def test_start_up_file_that_exits(network: Network) -> None:
    """A login that ends before it runs the program is reported with its output."""
    (network.remote_home / ".bashrc").write_text("echo 'This account is closed.'; exit 1\n")
    result = network.user.fab("secure")
    if result.returncode == 0:
        pytest.skip("needs a login shell that reads .bashrc under sshd, as Debian's bash does")
    assert_error(result, 6)
    assert "This account is closed." in result.stderr


def test_gateway_is_no_host(network: Network) -> None:
    """A machine that gives no shell is reported as such, with its output."""
    network.configure(gateway=None, notebook={"host": network.gateway_destination})
    assert_error(network.user.fab("secure"), 6, "This gateway gives no shell.")
