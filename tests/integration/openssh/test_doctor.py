"""doctor stops at the first check that fails, and names it with a fix; it says so when all checks pass."""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.cli import assert_success, kill
from tests.kit.faulty_sshd import close_immediately, raw_server
from tests.kit.modules import ModuleHost
from tests.kit.project_environments import UV_PROJECT, sync_with_uv
from tests.kit.sshd import GATEWAY_OPTIONS, LOOPBACK, Network

ALL_CHECKS = [
    "settings",
    "name",
    "port",
    "gateway",
    "forwarding",
    "host",
    "shell",
    "clock",
    "space",
    "directory",
    "loopback",
    "environments",
    "jupyter",
    "certificate",
    "kernel",
]
WITH_A_SERVER = [*ALL_CHECKS, "server", "websocket"]


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def assert_broken_at(network: Network, link: str, code: int, *expected: str) -> dict[str, Any]:
    """The failed check of `doctor --json`; asserts that every check before it passed and none follows."""
    result = network.user.fab("-t", "2", "doctor", "--json")
    report = f"{result.returncode}\n{result.stdout}\n{result.stderr}"
    links: list[dict[str, Any]] = json.loads(result.stdout)
    assert all(set(entry) == {"check", "ok", "result", "problem", "hint"} for entry in links), report
    names = [entry["check"] for entry in links]
    assert names == WITH_A_SERVER[: WITH_A_SERVER.index(link) + 1], report
    assert [entry["ok"] for entry in links] == [True] * (len(links) - 1) + [False], report
    broken = links[-1]
    assert broken["result"] is None, report
    assert broken["hint"], report
    assert all(text in broken["problem"] for text in expected), report
    assert result.returncode == code, report
    assert f"error: {broken['problem']}" in result.stderr
    assert f"hint: {broken['hint']}" in result.stderr
    return broken


@contextlib.contextmanager
def non_ssh_port() -> Iterator[int]:
    """A port on which a web server answers."""

    def talk(peer: socket.socket, connected: object) -> None:
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.close()

    with raw_server(talk) as (port, _):
        yield port


def test_name(network: Network) -> None:
    """A gateway whose name does not exist fails the check `name`."""
    network.configure(gateway="nowhere.invalid")
    assert_broken_at(network, "name", 3, "nowhere.invalid")


def test_port(network: Network) -> None:
    """A gateway that does not listen, is no SSH server, or closes at once fails the check `port`."""
    with non_ssh_port() as port:
        network.configure(gateway=f"{LOOPBACK}:{port}")
        assert_broken_at(network, "port", 3, "not SSH")
    with raw_server(close_immediately) as (port, _):
        network.configure(gateway=f"{LOOPBACK}:{port}")
        assert_broken_at(network, "port", 3)
    network.configure(gateway=f"{LOOPBACK}:{network.gateway.port}")
    network.gateway.stop()
    assert_broken_at(network, "port", 3, str(network.gateway.port))


def test_host_key_and_login_of_the_gateway(network: Network) -> None:
    """An unknown host key and a refused key fail the check `gateway`, with 5 and 4."""
    known_hosts = network.known_hosts.read_text()
    network.known_hosts.write_text("")
    assert_broken_at(network, "gateway", 5, "is not known")
    network.known_hosts.write_text(known_hosts)
    network.configure(connect_kwargs={})
    assert_broken_at(network, "gateway", 4, "refused the login")


def test_forwarding(network: Network) -> None:
    """A gateway that does not forward, and a host that does not listen, fail the check `forwarding`."""
    network.host.stop()
    assert_broken_at(network, "forwarding", 3, "cannot reach")
    network.gateway.stop()
    network.gateway.start("AllowTcpForwarding no", *GATEWAY_OPTIONS)
    assert_broken_at(network, "forwarding", 3, "refuses to forward")


def test_host(network: Network) -> None:
    """A host with another key, or that refuses the user's key, fails the check `host`."""
    no_keys = network.folder / "no_keys"
    no_keys.write_text("")
    network.host.authorized_keys = no_keys
    network.host.stop()
    network.host.start()
    assert_broken_at(network, "host", 4, "refused the login")
    network.host.new_key()
    assert_broken_at(network, "host", 5, "does not match the one")


def test_shell(network: Network) -> None:
    """A host that runs no program fails the check `shell`, with its output."""
    network.host.stop()
    network.host.start("ForceCommand echo 'This account is closed.'; exit 1", network.environment())
    assert_broken_at(network, "shell", 6)
    result = network.user.fab("doctor")
    assert "This account is closed." in result.stderr


@pytest.mark.parametrize(("shift", "expected"), [(3600, "ahead of"), (-3600, "behind")])
def test_clock(network: Network, shift: int, expected: str) -> None:
    """A host's clock that differs fails the check `clock`, with the difference and its direction."""
    folder = network.folder / "another time"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import time\nnow = time.time\ntime.time = lambda: now() + {shift}\n"
    )
    network.host.stop()
    network.host.start(network.environment(PYTHONPATH=str(folder)))
    assert re.search(r"3(599|600) s", assert_broken_at(network, "clock", 6, expected)["problem"])


def test_unwritable_folders(network: Network) -> None:
    """A read-only working folder fails the check `directory`; a folder that `serve` must write, the check `shell`."""
    # Not even root can create files in sysfs(5).
    network.configure(notebook={"directory": "/sys/kernel"})
    broken = assert_broken_at(network, "directory", 6, "/sys/kernel", "saved")
    assert "notebook.directory" in broken["hint"]
    network.configure()
    state = network.remote_home / ".local/state/notebooks-over-ssh/localhost"
    (state / "server.log").mkdir(parents=True)
    assert_broken_at(network, "shell", 6, "server.log")
    (state / "server.log").rmdir()


@pytest.mark.parametrize("option", ["AllowTcpForwarding no", "DisableForwarding yes"])
def test_host_that_forbids_forwarding(network: Network, option: str) -> None:
    """A host that forbids forwarding is named, with its reason, and a program relays connections."""
    network.host.stop()
    network.host.start(option, network.environment())
    output = assert_success(network.user.fab("secure", "doctor")).stdout
    (line,) = [line for line in output.splitlines() if line.startswith("loopback")]
    assert "administratively prohibited" in line
    assert "program" in line
    assert "all checks passed" in assert_success(network.user.fab("serve", "doctor", "stop")).stdout


def test_directory_and_environment(network: Network) -> None:
    """A missing folder and a missing environment fail their checks, with their names."""
    network.configure(notebook={"directory": "~/no such folder"})
    assert_broken_at(network, "directory", 6, "no such folder")
    network.configure(notebook={"environment": "missing"})
    broken = assert_broken_at(network, "jupyter", 6, "missing", "mlp")
    assert "notebook.environment" in broken["hint"]


def test_environments(network: Network, module_host: ModuleHost) -> None:
    """The check `environments` lists what notebook.environment may be set to, and the system of modules; a missing
    environment is answered with the same list.
    """
    project = network.remote_home / "mlpractical"
    (project / "pyproject.toml").write_text(UV_PROJECT)
    sync_with_uv(project, network.remote_home)
    network.host.stop()
    network.host.start(network.environment(**module_host.variables))
    network.configure(notebook={"environment": "missing"})
    assert_broken_at(network, "jupyter", 6, "no environment called missing", "mlp, uv")
    output = network.user.fab("doctor").stdout
    (line,) = [line for line in output.splitlines() if line.startswith("environments")]
    assert line.split(None, 1)[1] == f"mlp, uv; modules of {module_host.system}"


def test_unprotected_server(network: Network) -> None:
    """A server without credentials fails the check `certificate`, and secure fixes it."""
    assert "secure" in assert_broken_at(network, "certificate", 6, "not protected")["hint"]


def test_insecure_setting(network: Network) -> None:
    """An insecure setting of Jupyter fails the check `certificate`, with its name and file; secure fixes it."""
    assert_success(network.user.fab("secure"))
    config = network.remote_home / ".jupyter/jupyter_lab_config.py"
    config.write_text("c.ServerApp.allow_remote_access = True\n")
    broken = assert_broken_at(network, "certificate", 6, "ServerApp.allow_remote_access", str(config))
    assert "secure" in broken["hint"]
    assert ": disabled " in assert_success(network.user.fab("secure")).stdout
    assert_success(network.user.fab("doctor"))


def test_bad_setting(network: Network) -> None:
    """An invalid setting is reported by its name, with 2."""
    network.configure(notebook={"nise": 19})
    result = network.user.fab("doctor", "--json")
    assert result.returncode == 2, result.stdout + result.stderr
    assert "nise" in result.stderr
    assert "nice" in result.stderr


def test_all_checks_pass(network: Network) -> None:
    """All checks pass, without a server and with one; for a killed server, `server` fails, and doctor changes
    nothing.
    """
    assert_success(network.user.fab("secure"))
    result = assert_success(network.user.fab("doctor"))
    assert [line.split()[0] for line in result.stdout.splitlines()] == [*ALL_CHECKS, "doctor"]
    assert "all checks passed" in result.stdout
    assert_success(network.user.fab("serve"))
    session = network.user.only_session()
    links = json.loads(assert_success(network.user.invoke("doctor", "--json")).stdout)
    assert [(entry["check"], entry["ok"]) for entry in links] == [(name, True) for name in WITH_A_SERVER]
    assert network.user.only_session() == session
    kill(session["pid"])
    assert "serve" in assert_broken_at(network, "server", 6, "has ended")["hint"]
    assert_success(network.user.fab("stop"))


@pytest.mark.parametrize("task", ["fab", "invoke"])
def test_text_output(network: Network, task: str) -> None:
    """Without --json each check is printed as it runs, then the failed one, the error and the hint."""
    network.host.stop()
    result = network.user.run(task, "doctor")
    assert result.returncode == 3
    lines = result.stdout.splitlines()
    *links, debug_log = lines
    assert [line.split()[0] for line in links] == ALL_CHECKS[:5]
    assert links[-1].split() == ["forwarding", "failed"]
    assert "debug log" in debug_log
    assert result.stderr.startswith("error: ")
    assert "\nhint: " in result.stderr
