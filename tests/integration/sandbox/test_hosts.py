"""The compute hosts: commands, terminals, files and forwarding, as sshd does them."""

import socket
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from notebooks_over_ssh.sandbox import Network
from tests.kit.openssh_client import TIMEOUT_S, OpenSSHClient


def test_exit_codes(client: OpenSSHClient) -> None:
    """A command's exit code is the client's."""
    assert client.run("ashbury", "exit 0").returncode == 0
    assert client.run("ashbury", "exit 7").returncode == 7
    assert client.run("ashbury", "no-such-command").returncode == 127


def test_end_by_a_signal(client: OpenSSHClient) -> None:
    """A command that a signal ends is reported as such (ssh has no other code for it than 255)."""
    result = client.run("-v", "ashbury", "kill -KILL $$")
    assert result.returncode == 255
    assert "exit-signal" in result.stderr


def test_streams_stay_apart(client: OpenSSHClient) -> None:
    """Output, errors and input arrive where they belong, and the input ends."""
    result = client.run("ashbury", "cat; echo wrong >&2; cat /dev/stdin", stdin="one\ntwo\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "one\ntwo\n", "wrong\n")


def test_much_data_both_ways(client: OpenSSHClient) -> None:
    """Many times what fits any window or pipe goes through, and back, whole."""
    text = "0123456789abcde\n" * 500_000
    assert client.run("ashbury", "cat", stdin=text).stdout == text


def test_command_that_reads_nothing(client: OpenSSHClient) -> None:
    """Input that nobody reads does not keep a command from ending."""
    assert client.run("ashbury", "exec 0<&-; echo done", stdin="x" * 5_000_000).stdout == "done\n"


def test_clean_environment(client: OpenSSHClient, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the client's variables only the language and the terminal arrive, of the daemon's none."""
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


def test_names(client: OpenSSHClient) -> None:
    """Each host knows its own name, by every usual way to ask; other questions get this machine's answer."""
    output = client.run(
        "bonnington",
        "hostname; hostname -s; uname -n; uname -sn; echo $HOSTNAME; uname -a; uname -m; hostname evil",
    )
    lines = output.stdout.splitlines()
    system = subprocess.run(["uname", "-s"], capture_output=True, text=True, check=True).stdout.strip()
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    assert lines[:5] == ["bonnington", "bonnington", "bonnington", f"{system} bonnington", "bonnington"]
    assert lines[5].startswith(f"{system} bonnington ")
    assert lines[6] == machine
    assert output.returncode == 1


def test_one_home_for_all(client: OpenSSHClient) -> None:
    """What one host writes, another reads."""
    client.run("ashbury", "echo shared > note")
    assert client.run("calder", "cat ~/note; rm ~/note").stdout == "shared\n"


def test_terminal(client: OpenSSHClient) -> None:
    """A command on a terminal has one as its controlling terminal, and its exit code arrives."""
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


def test_conda_is_not_found_by_a_command(client: OpenSSHClient) -> None:
    """As after a real `conda init`: a shell that is not interactive has no conda."""
    assert client.run("ashbury", "command -v conda").returncode != 0
    assert "mlp" in client.run("ashbury", "~/miniconda3/bin/conda env list").stdout


def test_lost_connection_hangs_up_a_terminal(client: OpenSSHClient) -> None:
    """A command on a terminal gets SIGHUP when its connection dies."""
    ssh = client.start("-tt", "ashbury", "echo $$; exec sleep 600")
    assert ssh.stdout is not None
    process = psutil.Process(int(ssh.stdout.readline()))
    _kill(ssh)
    process.wait(timeout=TIMEOUT_S)


def test_lost_connection_takes_pipes_away(client: OpenSSHClient) -> None:
    """A command without a terminal lives on, with the end of its input and nobody to write to."""
    ssh = client.start("ashbury", "echo $$; cat >/dev/null; echo ended > ended; cat ~/.bashrc")
    assert ssh.stdout is not None
    process = psutil.Process(int(ssh.stdout.readline()))
    _kill(ssh)
    process.wait(timeout=TIMEOUT_S)
    assert client.run("ashbury", "cat ended; rm ended").stdout == "ended\n"


def test_detached_process_outlives_the_connection(client: OpenSSHClient) -> None:
    """A process with a session of its own and other streams holds no channel open, and stays."""
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
    """Every ended command has been waited for."""
    client.run("ashbury", "true")
    client.run("-tt", "ashbury", "true")
    children = psutil.Process(network.pid).children()
    assert [child for child in children if child.status() == psutil.STATUS_ZOMBIE] == []


def test_sftp(client: OpenSSHClient, tmp_path: Path) -> None:
    """Files go there and back; a relative path starts in the home folder."""
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


def test_forwards_to_its_own_ports_only(client: OpenSSHClient) -> None:
    """A tunnel ends at a port of the host itself; elsewhere it is refused."""
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
    # The ProxyCommand's ssh holds the connection to the gateway; it ends with the one that it serves.
    helpers = psutil.Process(ssh.pid).children(recursive=True)
    ssh.kill()
    for helper in helpers:
        helper.kill()
    ssh.communicate(timeout=TIMEOUT_S)
