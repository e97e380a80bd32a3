"""A notebook as a job of the sandbox's toy queue, as a newcomer practises it."""

import json
import os

from tests.kit.cli import User, assert_error, assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.leaks import leaked_processes
from tests.kit.users import generated_password


def test_practice(fresh_user: User) -> None:
    """`up --slurm` shows the queue, then the job; its kernel runs on a node; `stop` leaves no job and no process.

    What no partition offers is refused with what to change.
    """
    result = assert_success(fresh_user.fab("up", "--slurm", "--gpus", "1", "--detach"))
    assert "submitted job 1" in result.stdout
    assert "job 1 is queued: other jobs are ahead of it (Priority)" in result.stdout
    assert "job 1 is running on toy-node2" in result.stdout
    session = fresh_user.only_session()
    assert session["host"] == "toy-node2"
    with Browser(port_in(result), fresh_user.certificate_pem(session["host"])) as browser:
        assert browser.log_in(generated_password(result))
        with browser.kernel() as kernel:
            code = "import os; print(os.uname().nodename, *map(os.environ.get, ['SLURM_JOB_ID', 'SLURM_CLUSTER_NAME']))"
            assert kernel.run(code).text.split() == [os.uname().nodename, "1", "toy"]

    partitions = json.loads(assert_success(fresh_user.fab("clusters.partitions", "--json")).stdout)
    assert sum(entry["gpus"].get("gpu", {"total": 0})["total"] for entry in partitions) > 0
    assert [entry["obstacle"] for entry in partitions] == [None] * len(partitions)
    status = assert_success(fresh_user.fab("status")).stdout
    assert "job 1 is running, " in status and "min left" in status
    assert "0 jobs queued, 1 running" in assert_success(fresh_user.fab("sandbox.status")).stdout
    stopped = assert_success(fresh_user.fab("stop")).stdout
    assert "stopped the server on toy-node2" in stopped
    assert "0 jobs queued, 0 running" in assert_success(fresh_user.fab("sandbox.status")).stdout

    too_long = fresh_user.fab("-H", "login.cluster", "serve", "--slurm", "--time", "2:00:00")
    assert_error(too_long, 6, "PartitionTimeLimit", "notebook.job.time")
    assert_success(fresh_user.fab("sandbox.stop"))
    assert leaked_processes(fresh_user.home) == []
