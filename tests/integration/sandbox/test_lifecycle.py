"""The life cycle of the sandbox: start, crash, repair, and a stop that leaves nothing behind."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox import conda_environments, lifecycle, paths, process_cleanup
from tests.kit.cli import run
from tests.kit.openssh_client import make_client
from tests.kit.wait import TIMEOUT_S

CHECKOUT = Path(sandbox.__file__).parents[2]


def test_file_modes(network: sandbox.Network, folder: Path) -> None:
    """Keys, records, locks and the log are readable by this user alone, and so is the folder."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    private = [path for path in folder.iterdir() if path.is_file()] + list(folder.glob("hosts/*/host_key"))
    assert {"client_key", "gateway_key", "known_hosts", "network.json", "daemon.log", "host_key"} <= {
        path.name for path in private
    }
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in private} == {
        path.name: "0o600" for path in private
    }


def test_host_keys_differ(network: sandbox.Network) -> None:
    """The gateway and each host have their own host key; the pool's name has the keys of all hosts."""
    keys: dict[str, set[str]] = {}
    for line in Path(network.known_hosts).read_text().splitlines():
        name, _, key = line.partition(" ")
        keys.setdefault(name, set()).add(key)
    single = [f"[127.0.0.1]:{network.gateway_port}", *network.hosts, paths.LOGIN_NODE]
    assert set(keys) == {*single, network.pool}
    assert len({key for name in single for key in keys[name]}) == 5
    assert keys[network.pool] == {key for host in network.hosts for key in keys[host]}


def test_log_has_no_commands(network: sandbox.Network, folder: Path, tmp_path: Path) -> None:
    """The log contains neither the commands that a user runs nor the user names of logins."""
    make_client(network, tmp_path).run("-l", "somebody", "ashbury", "echo hush-hush")
    log = (folder / "daemon.log").read_text()
    assert "ashbury: connection" in log
    assert "hush" not in log
    assert "somebody" not in log


def test_daemon_is_detached(network: sandbox.Network) -> None:
    """The daemon has its own session, `/` as working directory, and only the environment variables it needs."""
    process = psutil.Process(network.pid)
    assert process.cwd() == "/"
    assert os.getsid(network.pid) != os.getsid(0)
    assert process.num_threads() == 1
    assert set(process.environ()) <= {*lifecycle.ENV_ALLOWLIST, paths.MARKER}


def test_not_running_at_first(fresh: Path) -> None:
    """Asking for the status and stopping create no files."""
    assert sandbox.find_running() is None
    assert sandbox.stop() is False
    assert not fresh.exists()


def test_second_start_finds_the_first(network: sandbox.Network) -> None:
    """A second start, in this process or another, returns the running network."""
    assert sandbox.ensure_running() == network
    assert sandbox.find_running() == network
    assert _query_in_another_process() == network.pid


def test_two_starts_at_once(fresh: Path) -> None:
    """Of two concurrent starts one starts the network, and both return it."""
    both = [_start_in_another_process() for _ in range(2)]
    answers = [process.communicate(timeout=TIMEOUT_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0] == answers[1]
    network = sandbox.find_running()
    assert network is not None
    assert int(answers[0]) == network.pid
    assert _members(fresh) == {network.pid}


@pytest.mark.parametrize("content", [b"", b"garbage \xff", b"{}", None])
def test_stale_record(fresh: Path, content: bytes | None) -> None:
    """After a crash the sandbox counts as stopped, whatever the record says; the next start works, with the same
    keys.
    """
    network = sandbox.ensure_running()
    key = Path(network.client_key).read_bytes()
    _crash(network.pid)
    record = fresh / "network.json"
    if content is not None:
        record.write_bytes(content)
    else:
        # As if the PID were reused, by this process.
        changed = json.loads(record.read_bytes())
        changed["network"]["pid"] = os.getpid()
        record.write_text(json.dumps(changed))
    assert sandbox.find_running() is None
    restarted = sandbox.ensure_running()
    assert restarted.pid not in (network.pid, os.getpid())
    assert Path(restarted.client_key).read_bytes() == key
    _accepts_connections(restarted)


def test_corrupt_record(fresh: Path) -> None:
    """With a corrupt record beside a living daemon the network is started again."""
    network = sandbox.ensure_running()
    (fresh / "network.json").write_bytes(b"garbage")
    assert sandbox.find_running() is None
    restarted = sandbox.ensure_running()
    assert _members(fresh) == {restarted.pid}
    assert restarted.pid != network.pid


def test_partial_sandbox_is_repaired(fresh: Path) -> None:
    """A start completes what an interrupted start left, and keeps the user's files."""
    network = sandbox.ensure_running()
    home = Path(network.home)
    _crash(network.pid)
    (fresh / "client_key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    (fresh / "hosts" / "calder" / "host_key").unlink()
    (home / "miniconda3/envs/mlp/conda-meta/history").unlink()
    (home / "miniconda3/envs/mlp/bin/jupyter").unlink()
    shutil.rmtree(home / "miniconda3/condabin")
    (home / "mlpractical/plots.ipynb").write_text("mine")
    (home / ".conda/environments.txt").unlink()
    restarted = sandbox.ensure_running()
    assert (home / "miniconda3/envs/mlp/bin/jupyter").exists()
    assert os.access(home / "miniconda3/condabin/conda", os.X_OK)
    assert (home / "mlpractical/plots.ipynb").read_text() == "mine"
    assert str(home / "miniconda3/envs/mlp") in (home / ".conda/environments.txt").read_text()
    assert make_client(restarted, fresh).run("calder", "true").returncode == 0


def test_broken_environment_is_rebuilt(fresh: Path) -> None:
    """An environment whose Python or packages are gone works again after the next start."""
    network = sandbox.ensure_running()
    environment = Path(network.home) / "miniconda3/envs/mlp"
    for spoil in (_remove_python, _remove_packages):
        _crash(network.pid)
        spoil(environment)
        network = sandbox.ensure_running()
        run(environment / "bin/python", "-c", "import jupyter_server")


def test_preferred_port_taken(fresh: Path) -> None:
    """When another program listens on the preferred port, the gateway takes another."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # Already taken, which is as good.
            stack.enter_context(socket.create_server(("127.0.0.1", paths.PREFERRED_PORT)))
        network = sandbox.ensure_running()
        assert network.gateway_port != paths.PREFERRED_PORT
        assert make_client(network, fresh).run("ashbury", "true").returncode == 0


def test_stop_leaves_nothing(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stop no process is left, not even one that ignores SIGTERM, no port and no file; a second stop does
    nothing.
    """
    monkeypatch.setattr(process_cleanup, "TERMINATE_TIMEOUT_S", 0.5)
    network = sandbox.ensure_running()
    client = make_client(network, fresh)
    for command in (
        "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!",
        "setsid sh -c 'trap \"\" TERM HUP; echo $$; exec >&- 2>&-; while :; do sleep 600; done' </dev/null & wait",
    ):
        started = client.start("ashbury", command)
        assert started.stdout is not None
        assert psutil.pid_exists(int(started.stdout.readline()))
        started.stdout.close()
    assert sandbox.stop() is True
    assert sandbox.stop() is False
    assert _members(fresh) == set()
    assert list(fresh.parents[1].glob("**/*")) == []
    with pytest.raises(ConnectionRefusedError):
        _accepts_connections(network)


def test_stop_finds_a_daemon_without_a_folder(fresh: Path) -> None:
    """`stop` finds and ends a daemon whose folder was deleted."""
    network = sandbox.ensure_running()
    shutil.rmtree(fresh)
    assert sandbox.find_running() is None
    assert sandbox.stop() is True
    assert not _lives(network.pid)


def test_terminated_daemon_cleans_up(fresh: Path) -> None:
    """SIGTERM ends the daemon cleanly: it writes that to its log and removes its record."""
    network = sandbox.ensure_running()
    os.kill(network.pid, signal.SIGTERM)
    _wait_until_gone(network.pid)
    assert not (fresh / "network.json").exists()
    assert "Traceback" not in (fresh / "daemon.log").read_text()


def test_missing_packages_are_named(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the sandbox's dependency group, the error names the missing package and the command to run."""
    monkeypatch.setattr(lifecycle, "REQUIRED_PACKAGES", ("asyncssh", "no_such_package"))
    with pytest.raises(TaskError, match="no_such_package") as caught:
        sandbox.ensure_running()
    assert "uv sync" in caught.value.hint
    assert not fresh.exists()


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the folder cannot be created, the error names it and has a hint."""
    (tmp_path / "data").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with pytest.raises(TaskError, match="could not be created") as caught:
        sandbox.ensure_running()
    assert "XDG_DATA_HOME" in caught.value.hint


def test_daemon_start_error(fresh: Path) -> None:
    """An error that keeps the daemon from starting reaches the caller as a message."""
    fresh.mkdir(parents=True, mode=0o700)
    (fresh / "home").write_text("a file where a folder should be")
    with pytest.raises(TaskError, match="could not be created in"):
        sandbox.ensure_running()
    for pid in _members(fresh):
        _wait_until_gone(pid)


def test_open_folder_is_refused(fresh: Path) -> None:
    """No keys are written to a folder that other users can enter."""
    fresh.mkdir(parents=True)
    fresh.chmod(0o755)
    with pytest.raises(TaskError, match="only you can enter"):
        sandbox.ensure_running()
    assert list(fresh.iterdir()) == []
    shutil.rmtree(fresh)


_QUERY_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from notebooks_over_ssh.sandbox import ensure_running
print(ensure_running().pid)
"""


def _start_in_another_process() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _QUERY_SCRIPT, str(CHECKOUT)], stdout=subprocess.PIPE, text=True
    )


def _query_in_another_process() -> int:
    return int(_start_in_another_process().communicate(timeout=TIMEOUT_S)[0])


def _members(folder: Path) -> set[int]:
    members = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(paths.MARKER) == str(folder) and _lives(process.pid):
                members.add(process.pid)
    return members


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _crash(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    _wait_until_gone(pid)


def _wait_until_gone(pid: int) -> None:
    for _ in range(1000):
        if not _lives(pid):
            return
        with contextlib.suppress(psutil.Error):
            psutil.wait_procs([psutil.Process(pid)], timeout=0.02)
    raise AssertionError(f"process {pid} lives on")


def _accepts_connections(network: sandbox.Network) -> None:
    with socket.create_connection(("127.0.0.1", network.gateway_port), timeout=TIMEOUT_S) as connection:
        assert connection.recv(4) == b"SSH-"


def _remove_python(environment: Path) -> None:
    for link in (environment / "bin").glob("python*"):
        link.unlink()
        link.symlink_to("/nonexistent/python")


def _remove_packages(environment: Path) -> None:
    (listing,) = environment.glob("lib/python*/site-packages/" + conda_environments.PATH_FILE)
    listing.write_text("/nonexistent/site-packages\n")
