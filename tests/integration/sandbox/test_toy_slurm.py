"""The sandbox's toy in place of Slurm: its jobs run, end with all their processes, and are lost with the daemon."""

from pathlib import Path

import psutil
import pytest

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.sandbox.paths import LOGIN_NODE, SandboxPaths
from notebooks_over_ssh.sandbox.toy_slurm import job_processes
from notebooks_over_ssh.util.processes import is_alive
from tests.kit.openssh_client import OpenSSHClient, make_client
from tests.kit.wait import wait_until

# A process in a session of its own, as Jupyter starts its server.
DAEMONIZES = "setsid sleep 1000 & echo started; wait"


def submit(client: OpenSSHClient, *options: str) -> str:
    """Submit a job on the login node; returns its number."""
    result = client.run(LOGIN_NODE, "sbatch --parsable " + " ".join(options))
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def state(client: OpenSSHClient, job: str) -> str:
    """The state of the job, with its reason."""
    return client.run(
        LOGIN_NODE, f"squeue --jobs={job} --states=all --noheader --format='%T %r'"
    ).stdout.strip()


def wait_for(client: OpenSSHClient, job: str, expected: str) -> None:
    """Wait for a state of the job."""
    wait_until(lambda: state(client, job).startswith(expected), f"job {job} is {expected}")


def processes(folder: Path, job: str) -> list[psutil.Process]:
    """The job's processes."""
    return job_processes.find(SandboxPaths(folder), int(job))


def test_a_job(client: OpenSSHClient, network: sandbox.Network) -> None:
    """A job waits, runs on a node with Slurm's variables, and leaves its output; srun runs more in it meanwhile."""
    go, output = Path(network.home, "go"), Path(network.home, "practice.out")
    output.write_text("earlier\n")
    job = submit(
        client,
        "--gpus=1 --job-name=practice --output=%x.out --error=%j.err --open-mode=append",
        "--wrap='hostname; echo $SLURM_JOB_ID $SLURM_JOB_GPUS; until [ -e go ]; do sleep 0.1; done; echo end >&2'",
    )
    assert state(client, job).startswith("PENDING")
    wait_for(client, job, "RUNNING")
    step = client.run(
        LOGIN_NODE, f"srun --overlap --jobid={job} sh -c 'uname -n; cat; exit 3'", stdin="input"
    )
    assert (step.returncode, step.stdout) == (3, "toy-node2\ninput")
    go.touch()
    wait_for(client, job, "COMPLETED")
    errors = Path(network.home, f"{job}.err")
    assert (output.read_text(), errors.read_text()) == (f"earlier\ntoy-node2\n{job} 0\n", "end\n")
    for file in (go, output, errors):
        file.unlink()


def test_time_limit_and_cancelling(client: OpenSSHClient, network: sandbox.Network, folder: Path) -> None:
    """At its time limit, or cancelled, a job ends with all its processes, also one that ignores SIGTERM.

    Before the limit, it gets the signal that it asked for.
    """
    limited = submit(
        client,
        "--time=0:06 --signal=B:USR1@1 --output=/dev/null --error=limited.log",
        f"--wrap='trap \"echo signalled >&2\" USR1; {DAEMONIZES}; wait'",
    )
    stubborn = submit(client, "--output=stubborn.log", "--wrap='trap \"\" TERM; while :; do sleep 0.1; done'")
    wait_for(client, stubborn, "RUNNING")
    wait_until(lambda: len(processes(folder, stubborn)) > 0, "the job has a process")
    assert client.run(LOGIN_NODE, f"scancel {stubborn}").returncode == 0
    assert state(client, stubborn).startswith(("COMPLETING", "CANCELLED"))
    wait_for(client, limited, "TIMEOUT")
    wait_for(client, stubborn, "CANCELLED")
    assert processes(folder, limited) == processes(folder, stubborn) == []
    log = Path(network.home, "limited.log").read_text()
    assert "signalled\n" in log and "DUE TO TIME LIMIT" in log
    for name in ("limited.log", "stubborn.log"):
        Path(network.home, name).unlink()


def test_failed_jobs(client: OpenSSHClient) -> None:
    """A script that fails, one that cannot be run and one without its folder are jobs that failed."""
    jobs = [
        submit(client, "--output=/dev/null", options)
        for options in (
            "--wrap='exit 3'",
            "--output=/no-such-folder/x --wrap=true",
            "--chdir=/no-such-folder --wrap=true",
        )
    ]
    for job in jobs:
        wait_for(client, job, "FAILED")


def test_refused(client: OpenSSHClient) -> None:
    """An option that the toy does not know is refused as by Slurm, and said to be the toy's fault."""
    result = client.run("ashbury", "sbatch --array=1-3 --wrap=true")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("sbatch: error: unrecognized arguments: --array=1-3")
    assert "toy queue" in result.stderr


def test_login_node(client: OpenSSHClient) -> None:
    """The login node has a configuration of Slurm, by which it is taken for one; the compute hosts have none."""
    assert client.run(LOGIN_NODE, 'hostname; cat "$SLURM_CONF"').stdout.startswith(
        f"{LOGIN_NODE}\n# The sandbox's toy"
    )
    assert client.run("ashbury", "echo $SLURM_CONF").stdout == "\n"


def test_killed_daemon(fresh: Path, tmp_path: Path) -> None:
    """When the daemon is killed, the next one ends what is left of its running jobs, and keeps the queued ones.

    Stopping the sandbox ends all jobs, and removes all files.
    """
    network = sandbox.ensure_running()
    client = make_client(network, tmp_path)
    running = submit(client, "--output=/dev/null", f"--wrap='{DAEMONIZES}'")
    wait_for(client, running, "RUNNING")
    queued = submit(client, "--output=/dev/null", "--wrap=true")
    assert sandbox.describe_queue() == "1 job queued, 1 running"
    lost = processes(fresh, running)
    assert lost

    psutil.Process(network.pid).kill()
    wait_until(lambda: sandbox.find_running() is None, "the daemon is gone")
    client = make_client(sandbox.ensure_running(), tmp_path)
    wait_for(client, running, "NODE_FAIL")
    assert not any(map(is_alive, lost))
    wait_for(client, queued, "COMPLETED")

    another = submit(client, "--output=/dev/null", f"--wrap='{DAEMONIZES}'")
    assert int(another) == int(queued) + 1
    wait_for(client, another, "RUNNING")
    remaining = processes(fresh, another)
    assert remaining
    assert sandbox.stop()
    assert not any(map(is_alive, remaining))
    assert not fresh.exists()


@pytest.mark.parametrize("content", ["", "{", '{"jobs": [{"id": "x"}]}'])
def test_damaged_file(fresh: Path, tmp_path: Path, content: str) -> None:
    """With a damaged file of jobs, the queue starts empty."""
    (fresh / "toy_slurm").mkdir(mode=0o700, parents=True)
    fresh.chmod(0o700)
    (fresh / "toy_slurm" / "queue.json").write_text(content)
    client = make_client(sandbox.ensure_running(), tmp_path)
    assert client.run("calder", "squeue --noheader").stdout == ""
    assert submit(client, "--output=/dev/null", "--wrap=true") == "1"


def test_no_socket(fresh: Path, tmp_path: Path) -> None:
    """Where the socket cannot be made, the sandbox runs without the queue, and the programs say so."""
    (fresh / "toy_slurm" / "socket").mkdir(parents=True)
    fresh.chmod(0o700)
    result = make_client(sandbox.ensure_running(), tmp_path).run(LOGIN_NODE, "squeue")
    assert (result.returncode, result.stdout) == (1, "")
    assert "squeue: error: Unable to contact slurm controller" in result.stderr
