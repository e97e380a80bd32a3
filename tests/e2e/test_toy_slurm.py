"""A notebook as a job of the sandbox's toy queue, as a newcomer practises it."""

import shutil

import pytest

from tests.kit.cli import User, assert_error, assert_success
from tests.kit.jupyter_client import Browser
from tests.kit.leaks import leaked_processes
from tests.kit.users import PASSWORD


def test_practice(fresh_user: User) -> None:
    """`up --slurm` shows the queue and the job; its kernel runs on a node; Ctrl-C and yes leave no job and no process.

    What no partition offers is refused with what to change.
    """
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs the program ssh-keygen (openssh-client)")
    assert_success(fresh_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    with fresh_user.at_terminal("fab", "up", "--slurm", "--gpus", "1") as terminal:
        terminal.expect("submitted job 1")
        terminal.expect(r"job 1 is queued: other jobs are ahead of it \(Priority\)")
        terminal.expect("job 1 is running on toy-node2")
        port = int(terminal.expect(r"ready.* https://localhost:(\d+)/")[1])
        terminal.expect("ctrl-c")
        with Browser(port, fresh_user.certificate_pem("toy-node2")) as browser:
            assert browser.log_in(PASSWORD)
            with browser.kernel() as kernel:
                code = "import os; print(*map(os.environ.get, ['SLURM_JOB_ID', 'HOSTNAME', 'SLURM_CLUSTER_NAME']))"
                assert kernel.run(code).text.split() == ["1", "toy-node2", "toy"]
        status = assert_success(fresh_user.fab("status")).stdout
        assert "job 1 is running, " in status and "min left" in status
        assert "0 jobs queued, 1 running" in assert_success(fresh_user.fab("sandbox.status")).stdout
        terminal.interrupt()
        terminal.expect(r"stop the server on toy-node2 too\?")
        terminal.type("y")
        assert terminal.end() == 0, terminal.output
    assert "stopped the server on toy-node2" in terminal.output
    assert "0 jobs queued, 0 running" in assert_success(fresh_user.fab("sandbox.status")).stdout

    too_long = fresh_user.fab("-H", "login.cluster", "serve", "--slurm", "--time", "2:00:00")
    assert_error(too_long, 6, "PartitionTimeLimit", "notebook.job.time")
    assert fresh_user.status() == []
    assert_success(fresh_user.fab("sandbox.stop"))
    assert leaked_processes(fresh_user.home) == []
