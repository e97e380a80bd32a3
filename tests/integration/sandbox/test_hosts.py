"""The sandbox's hosts: commands, terminals, files and forwarding work as with sshd."""

import contextlib
import socket
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from notebooks_over_ssh.sandbox import Network
from tests.kit.cli import run
from tests.kit.openssh_client import OpenSSHClient
from tests.kit.wait import TIMEOUT_S


def test_exit_codes(client: OpenSSHClient) -> None:
    """ssh exits with the command's exit code."""
    assert client.run("ashbury", "exit 0").returncode == 0
    assert client.run("ashbury", "exit 7").returncode == 7
    assert client.run("ashbury", "no-such-command").returncode == 127


def test_exit_signal(client: OpenSSHClient) -> None:
    """A command that a signal ends is reported as such (ssh exits with 255 for it)."""
    result = client.run("-v", "ashbury", "kill -KILL $$")
    assert result.returncode == 255
    assert "exit-signal" in result.stderr


def test_separate_streams(client: OpenSSHClient) -> None:
    """stdout, stderr and stdin are separate streams, and end of file on stdin arrives."""
    result = client.run("ashbury", "cat; echo wrong >&2; cat /dev/stdin", stdin="one\ntwo\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "one\ntwo\n", "wrong\n")


def test_large_transfers(client: OpenSSHClient) -> None:
    """Data many times the size of a window or pipe arrives complete, in both directions."""
    text = "0123456789abcde\n" * 500_000
    assert client.run("ashbury", "cat", stdin=text).stdout == text


def test_unread_input(client: OpenSSHClient) -> None:
    """A command ends although nobody reads its input."""
    assert client.run("ashbury", "exec 0<&-; echo done", stdin="x" * 5_000_000).stdout == "done\n"


def test_clean_environment(client: OpenSSHClient, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the client's locale and TERM reach the command's environment, and nothing of the daemon's."""
    monkeypatch.setenv("SECRET", "hush")
    monkeypatch.setenv("LC_PAPER", "C")
    output = client.run("-o", "SendEnv=SECRET LC_PAPER", "calder", "env; pwd; umask").stdout.splitlines()
    variables = dict(line.split("=", 1) for line in output[:-2])
    assert output[-2:] == [network.home, "0022"]
    assert set(variables) - {"SHLVL", "_", "PWD"} == {
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "PATH",
        "LANG",
        "LC_PAPER",
        "HOSTNAME",
        "SSH_CLIENT",
        "SSH_CONNECTION",
        "NOTEBOOKS_SANDBOX",
    }
    assert variables["HOME"] == network.home


def test_host_names(client: OpenSSHClient) -> None:
    """Each host reports its own name to `hostname` and `uname`; their other options report this machine's values."""
    output = client.run(
        "bonnington",
        "hostname; hostname -s; uname -n; uname -sn; echo $HOSTNAME; uname -a; uname -m; hostname evil",
    )
    lines = output.stdout.splitlines()
    system = run("uname", "-s").stdout.strip()
    machine = run("uname", "-m").stdout.strip()
    assert lines[:5] == ["bonnington", "bonnington", "bonnington", f"{system} bonnington", "bonnington"]
    assert lines[5].startswith(f"{system} bonnington ")
    assert lines[6] == machine
    assert output.returncode == 1


def test_shared_home(client: OpenSSHClient) -> None:
    """A file that one host writes can be read on another."""
    client.run("ashbury", "echo shared > note")
    assert client.run("calder", "cat ~/note; rm ~/note").stdout == "shared\n"


def test_terminal(client: OpenSSHClient) -> None:
    """A command with a PTY has it as its controlling terminal, and its exit code arrives."""
    result = client.run("-tt", "ashbury", "tty; ps -o tty= -p $$; stty size; echo $TERM > /dev/tty; exit 3")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("/dev/")
    assert lines[0].endswith(lines[1].strip())
    assert result.returncode == 3


def test_login_shell(client: OpenSSHClient) -> None:
    """Without a command there is a login shell, which finds conda and knows the host's name."""
    result = client.run("-tt", "ashbury", stdin="shopt -q login_shell && conda env list; uname -n; exit 4\n")
    assert result.returncode == 4
    assert "miniconda3/envs/mlp" in result.stdout
    assert "\nashbury" in result.stdout.replace("\r", "")


def test_conda_needs_an_interactive_shell(client: OpenSSHClient) -> None:
    """A shell that is not interactive has no conda, as after a real `conda init`."""
    assert client.run("ashbury", "command -v conda").returncode != 0
    assert "mlp" in client.run("ashbury", "~/miniconda3/bin/conda env list").stdout


def test_disconnect_sends_sighup(client: OpenSSHClient) -> None:
    """A command with a PTY gets SIGHUP when its connection is lost."""
    ssh = client.start("-tt", "ashbury", "echo $$; exec sleep 600")
    assert ssh.stdout is not None
    process = psutil.Process(int(ssh.stdout.readline()))
    _kill(ssh)
    process.wait(timeout=TIMEOUT_S)


def test_disconnect_closes_pipes(client: OpenSSHClient) -> None:
    """A command without a PTY survives a lost connection, with its stdin at end of file and its stdout closed."""
    ssh = client.start("ashbury", "echo $$; cat >/dev/null; echo ended > ended; cat ~/.bashrc")
    assert ssh.stdout is not None
    process = psutil.Process(int(ssh.stdout.readline()))
    _kill(ssh)
    process.wait(timeout=TIMEOUT_S)
    assert client.run("ashbury", "cat ended; rm ended").stdout == "ended\n"


def test_detached_process_survives(client: OpenSSHClient) -> None:
    """A process with its own session and streams does not keep the channel open, and survives the connection."""
    result = client.run("ashbury", "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!")
    process = psutil.Process(int(result.stdout))
    assert process.is_running()
    assert process.ppid() != client.network.pid
    process.kill()


def test_channel_waits_for_writers(client: OpenSSHClient) -> None:
    """Output that a background process writes after the command has ended still arrives, as with sshd."""
    result = client.run("ashbury", "(while kill -0 $$; do :; done 2>&-; echo late) & echo early; exit 5")
    assert result.stdout.splitlines() == ["early", "late"]
    assert result.returncode == 5


def test_no_zombies(client: OpenSSHClient, network: Network) -> None:
    """The daemon reaps every command that ended."""
    client.run("ashbury", "true")
    client.run("-tt", "ashbury", "true")
    children = psutil.Process(network.pid).children()
    assert [child for child in children if child.status() == psutil.STATUS_ZOMBIE] == []


def test_sftp(client: OpenSSHClient, tmp_path: Path) -> None:
    """SFTP uploads and downloads files; a relative path starts in the home folder."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 4096)
    orders = (
        f"pwd\nput {source} sent\nrename sent renamed\nget renamed {target}\nrm renamed\nls mlpractical\n"
    )
    result = client.run("-b", "-", "ashbury", stdin=orders, program="sftp")
    assert result.returncode == 0, result.stderr
    assert f"Remote working directory: {client.network.home}" in result.stdout
    assert "mlpractical/plots.ipynb" in result.stdout
    assert target.read_bytes() == source.read_bytes()


def test_forwards_to_own_ports_only(client: OpenSSHClient) -> None:
    """A host forwards to its own ports, and refuses other destinations."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answering = threading.Thread(target=_echo_once, args=(server,))
        answering.start()
        result = client.run("-W", f"localhost:{port}", "ashbury", stdin="through")
        answering.join(TIMEOUT_S)
    assert result.stdout == "through"
    closed = client.run("-W", f"localhost:{port}", "ashbury")
    assert "Connect call failed" in closed.stderr or "refused" in closed.stderr
    assert "administratively prohibited" in client.run("-W", "192.0.2.1:80", "ashbury").stderr
    assert "administratively prohibited" in client.run("-W", "bonnington:22", "ashbury").stderr


def _echo_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while part := connection.recv(65536):
            connection.sendall(part)


def _kill(ssh: subprocess.Popen[str]) -> None:
    # The ProxyCommand's ssh has the connection to the gateway. It may end by itself, with the outer one.
    helpers = psutil.Process(ssh.pid).children(recursive=True)
    ssh.kill()
    for helper in helpers:
        with contextlib.suppress(psutil.NoSuchProcess):
            helper.kill()
    ssh.communicate(timeout=TIMEOUT_S)
