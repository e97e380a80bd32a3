"""Partitions as the host reports them, in words and as a table; and what of the report is refused."""

from typing import Any

import pytest

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.launchers.base import Cluster
from notebooks_over_ssh.launchers.slurm_partitions import ClusterReply
from notebooks_over_ssh.launchers.slurm_state import decode
from notebooks_over_ssh.tasks.clusters import table

ENTRY = {
    "name": "debug", "is_default": True, "time_limit_s": 3600, "default_time_s": 600, "unavailable_reason": "",
    "unavailable_names": [], "nodes": 2, "free_nodes": 1, "cpus": 8, "free_cpus": 5, "gpus": {}, "waiting_jobs": 3,
}  # fmt: skip


def cluster(*entries: dict[str, Any], **fields: Any) -> Cluster:
    """The cluster of a reply with these partitions, each as ENTRY apart from what is given."""
    reply = {"problem": "", "host": "login", "cluster": "c1", "version": "22.05.8", "accounts": None}
    decoded: ClusterReply = decode(
        reply | {"partitions": [ENTRY | entry for entry in entries]} | fields, ClusterReply
    )
    return decoded.to_cluster()


def test_table() -> None:
    """Each partition is one row with aligned columns; those that the user may not use come last, with the reason."""
    rows = table(
        cluster(
            {"name": "physics", "is_default": False, "unavailable_reason": "down"},
            {},
            {
                "name": "gpu", "is_default": False, "time_limit_s": None, "waiting_jobs": None,
                "gpus": {"b": {"total": 1, "free": 0}, "a": {"total": 4, "free": 2}},
            },
        ).partitions
    )  # fmt: skip
    assert rows == [
        "partition        time limit  free nodes  free CPUs  free GPUs           jobs waiting  for you",
        "debug (default)  1 h         1 of 2      5 of 8     -                   3             yes",
        "gpu              none        1 of 2      5 of 8     a 2 of 4, b 0 of 1  not shown     yes",
        "physics          1 h         1 of 2      5 of 8     -                   3             no: takes no jobs",
    ]


def test_unavailable() -> None:
    """The accounts or QOSs that a partition is for are named."""
    (partition,) = cluster({"unavailable_reason": "qos", "unavailable_names": ["long", "big"]}).partitions
    assert partition.unavailable_reason == "for other QOSs: long, big"


def test_description() -> None:
    """The scheduler is named with its version, and the cluster if it has a name."""
    assert cluster({}).description == "Slurm 22.05.8, cluster c1"
    assert cluster({}, cluster="").description == "Slurm 22.05.8"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\nerror: lost"), ("name", "\x1b[2J"), ("name", "x" * 65), ("nodes", -1), ("free_cpus", 10**13),
        ("unavailable_reason", "because"), ("unavailable_names", ["x y"]), ("unavailable_names", ["x"] * 21),
        ("gpus", {"\x1b": {"total": 1, "free": 1}}), ("gpus", {"gpu": {"total": 1}}), ("waiting_jobs", "3"),
        ("time_limit_s", 1.5),
    ],
)  # fmt: skip
def test_invalid_reply(field: str, value: object) -> None:
    """A report with a field that is not valid is an error."""
    with pytest.raises(RemoteError, match="invalid reply"):
        cluster({field: value})


def test_too_many() -> None:
    """A report with more partitions than the host's program sends is an error."""
    with pytest.raises(RemoteError, match="invalid reply"):
        cluster(*[{}] * 201)
