"""`clusters.partitions` on a real cluster: what is free, what waits, and who may use a partition."""

import json
from typing import Any

from tests.kit.cli import assert_error, assert_success
from tests.kit.slurm.accounting import ACCOUNT
from tests.kit.slurm.site import ClusterUser


def _partitions(user: ClusterUser) -> dict[str, dict[str, Any]]:
    """The partitions by name, as the JSON list has them."""
    entries = json.loads(assert_success(user.invoke("clusters.partitions", "--json")).stdout)
    return {entry["name"]: entry for entry in entries}


def test_partitions(cluster_user: ClusterUser) -> None:
    """The partitions have their limits, what is free and how many jobs wait, in a table and as JSON; this takes seven
    requests to Slurm's controller, however many partitions and jobs there are.
    """
    idle = _partitions(cluster_user)
    assert list(idle) == ["debug", "gpu", "limited", "urgent"]
    assert idle["debug"] == {
        "name": "debug", "is_default": True, "unavailable_reason": None, "time_limit_s": 3600, "default_time_s": 600,
        "nodes": 2, "free_nodes": 2, "cpus": 4, "free_cpus": 4, "gpus": {}, "waiting_jobs": 0,
    }  # fmt: skip
    assert (idle["limited"]["time_limit_s"], idle["limited"]["default_time_s"]) == (60, None)
    assert idle["gpu"]["gpus"] == {"gpu": {"total": 2, "free": 2}}
    with cluster_user.running_job("--partition=gpu", "--gres=gpu:1", "--cpus-per-task=1"):
        cluster_user.submit("--partition=gpu", "--gres=gpu:2", "--job-name=x\ngpu\ngpu")
        cluster_user.submit("--partition=gpu,debug", "--hold")
        before = cluster_user.cluster.count_requests()
        gpu = _partitions(cluster_user)["gpu"]
        requests = cluster_user.cluster.count_requests() - before
        table = assert_success(cluster_user.fab("clusters.partitions", "--host", "login")).stdout
    assert (gpu["free_nodes"], gpu["free_cpus"], gpu["waiting_jobs"]) == (0, 1, 2)
    assert gpu["gpus"] == {"gpu": {"total": 2, "free": 1}}
    assert sum(requests.values()) <= 7, requests
    words = [line.split() for line in table.splitlines()]
    assert words[0][:2] == ["login", "Slurm"]
    row = next(row for row in words if row[0] == "gpu")
    assert " ".join(row) == "gpu 1 h 0 of 1 1 of 2 1 of 2 2 yes"


def test_unavailable(cluster_user: ClusterUser) -> None:
    """A partition that takes no jobs is shown as such; one that is closed to the user's groups is not shown."""
    cluster = cluster_user.cluster
    cluster.scontrol("update", "PartitionName=urgent", "State=DOWN")
    cluster.scontrol("update", "PartitionName=limited", "AllowGroups=root")
    try:
        entries = _partitions(cluster_user)
    finally:
        cluster.scontrol("update", "PartitionName=urgent", "State=UP")
        cluster.scontrol("update", "PartitionName=limited", "AllowGroups=ALL")
    assert {name: entry["unavailable_reason"] for name, entry in entries.items()} == {
        "debug": None, "gpu": None, "urgent": "takes no jobs",
    }  # fmt: skip


def test_broken_node(cluster_user: ClusterUser) -> None:
    """A drained node is counted, and nothing on it is free."""
    cluster = cluster_user.cluster
    cluster.scontrol("update", "NodeName=gpu1", "State=DRAIN", "Reason=test")
    gpu = _partitions(cluster_user)["gpu"]
    assert (gpu["nodes"], gpu["free_nodes"], gpu["cpus"], gpu["free_cpus"]) == (1, 0, 2, 0)
    assert gpu["gpus"] == {"gpu": {"total": 2, "free": 0}}


def test_controller_down(cluster_user: ClusterUser) -> None:
    """While Slurm's controller is down, the error has its reason and a hint."""
    cluster_user.cluster.stop_daemon(cluster_user.cluster.login, "slurmctld")
    result = assert_error(cluster_user.fab("clusters.partitions"), 6, "Unable to contact slurm controller")
    assert "try again" in result.stderr


def test_not_for_the_user(accounted_user: ClusterUser) -> None:
    """A partition that is for others is shown as such. Slurm accepts a job for it, which would wait for ever: `serve`
    says so, and cancels it.
    """
    assert_success(accounted_user.fab("secure", "--password-file", "-", stdin="a password of the tests"))
    for limit, value, normal, unavailable_reason, setting in (
        ("AllowAccounts", "elsewhere", "ALL", "for other accounts: elsewhere", "notebook.job.account"),
        ("DenyAccounts", ACCOUNT, "", "for other accounts", "notebook.job.account"),
        ("AllowQos", "other", "ALL", "for other QOSs: other", "notebook.job.qos"),
    ):
        accounted_user.cluster.scontrol("update", "PartitionName=gpu", f"{limit}={value}")
        try:
            entries = _partitions(accounted_user)
            served = accounted_user.fab("serve", "--slurm", "--partition", "gpu")
        finally:
            accounted_user.cluster.scontrol("update", "PartitionName=gpu", f"{limit}={normal}")
        assert {
            name: entry["unavailable_reason"]
            for name, entry in entries.items()
            if entry["unavailable_reason"]
        } == {"gpu": unavailable_reason}
        assert_error(served, 6, "will not start: its partition is for other", setting)
        assert accounted_user.cluster.active_jobs(accounted_user.account) == []
