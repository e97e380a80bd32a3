"""`doctor` on a cluster without a job: what one may use, and settings that do not fit."""

import json
from typing import Any

from tests.kit.cli import Result, assert_error, assert_success
from tests.kit.slurm.accounting import ACCOUNT
from tests.kit.slurm.site import ClusterUser

PASSWORD = "a password of the tests"


def _results(result: Result) -> dict[str, str]:
    """The results of `doctor --json`, by check."""
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return {row["check"]: row["result"] or row["problem"] for row in rows}


def test_before_a_job(accounted_user: ClusterUser) -> None:
    """The scheduler, its partitions, the user's accounts, and when the job would start are shown; the environment is
    that of the login node, which is said. Settings that do not fit are a problem of their own.
    """
    assert_success(accounted_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    accounted_user.configure(notebook={"launcher": "slurm", "job": {"partition": "gpu", "gpus": 1}})
    results = _results(assert_success(accounted_user.fab("doctor", "--json")))
    assert results["scheduler"].startswith("Slurm 2")
    assert "cluster tests answers" in results["scheduler"]
    assert "gpu (up to 1 h, 1 of 1 nodes free)" in results["partitions"]
    assert results["account"] == ACCOUNT
    assert results["job"] == "Slurm would accept it, and start it in the partition gpu at once"
    assert results["jupyter"].endswith("on the login node: no job is running")
    for job, check, problem, hint in (
        ({"partition": "nowhere"}, "partitions", 'no partition "nowhere"', "clusters.partitions"),
        ({"account": "elsewhere"}, "account", "none of your accounts", "notebook.job.account"),
        ({"partition": "debug", "gpus": 1}, "job", "refused the job", "notebook.job"),
    ):
        accounted_user.configure(notebook={"launcher": "slurm", "job": job})
        failed = assert_error(accounted_user.fab("doctor", "--json"), 6, problem, hint)
        assert list(_results(failed))[-1] == check
    assert accounted_user.cluster.active_jobs(accounted_user.account) == []
