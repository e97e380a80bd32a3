"""What `doctor` says of a cluster: the partitions and accounts of the user, and settings that do not fit."""

from typing import Any

import msgspec
import pytest

from notebooks_over_ssh.config.schema import Job
from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.launchers.base import Cluster, Partition
from notebooks_over_ssh.launchers.cluster_checks import check_account, check_partitions
from notebooks_over_ssh.launchers.slurm_partitions import StartEstimate

DEBUG = Partition(
    name="debug", is_default=True, unavailable_reason="", time_limit_s=3600, default_time_s=None, nodes=2, free_nodes=1,
    cpus=8, free_cpus=5, gpus={}, waiting_jobs=3,
)  # fmt: skip


def partition(name: str, **fields: Any) -> Partition:
    return msgspec.structs.replace(DEBUG, name=name, **{"is_default": False, **fields})


def cluster(*partitions: Partition, accounts: tuple[str, ...] | None = None) -> Cluster:
    return Cluster("Slurm 22.05.8", accounts, partitions)


def test_partitions() -> None:
    """The partitions that the user may use are listed, with their limits and free nodes."""
    some = cluster(
        DEBUG, partition("long", time_limit_s=None), partition("physics", unavailable_reason="for physics")
    )
    assert check_partitions(some, Job()) == "debug (up to 1 h, 1 of 2 nodes free), long (1 of 2 nodes free)"
    assert check_partitions(some, Job(partition="long,debug")).startswith("debug")
    many = check_partitions(cluster(DEBUG, *(partition(f"p{number}") for number in range(9))), Job())
    assert "p4 (" in many and "p5" not in many and " and 4 more (`" in many


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("nowhere", 'no partition "nowhere"'),
        ("long,nowhere", 'no partition "nowhere"'),
        ("physics", "physics is not for you: for other accounts"),
        (None, "no default partition"),
    ],
)
def test_wrong_partition(setting: str | None, problem: str) -> None:
    """A partition that does not exist, or is not for the user, is a problem; so is none where there is no default."""
    some = cluster(partition("long"), partition("physics", unavailable_reason="for other accounts"))
    with pytest.raises(RemoteError, match=problem) as raised:
        check_partitions(some, Job(partition=setting))
    assert "clusters.partitions" in raised.value.hint


def test_account() -> None:
    """The user's accounts are listed, and one that is not among them is a problem."""
    assert "none on record" in check_account(cluster(DEBUG), Job(account="physics"))
    some = cluster(DEBUG, accounts=("chem", "lab"))
    assert check_account(some, Job()) == check_account(some, Job(account="LAB")) == "chem, lab"
    with pytest.raises(RemoteError, match='"physics" is none of your accounts .* chem, lab') as raised:
        check_account(some, Job(account="physics"))
    assert "notebook.job.account" in raised.value.hint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "accept it"),
        (5, "start it in the partition gpu at once"),
        (7200, "start it in the partition gpu in 2 h"),
    ],
)
def test_estimate(seconds: int | None, text: str) -> None:
    """The estimate of a job that is not submitted is in words."""
    assert StartEstimate(starts_in_s=seconds, partition="gpu").describe().endswith(text)
