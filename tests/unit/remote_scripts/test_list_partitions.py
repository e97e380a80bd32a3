"""What Slurm prints about partitions, and what is made of it: who may use them, and what is free."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

CONFIG = """\
Configuration data as of 2026-01-01T00:00:00
AccountingStorageEnforce = associations,limits
ClusterName             = tests
PrivateData             = none
SLURM_VERSION           = 22.05.8
"""
# Further fields of scontrol are left out.
PARTITION = "PartitionName=debug AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL Default=YES DefaultTime=00:10:00 MaxTime=1-02:00:00 RootOnly=NO ReqResv=NO State=UP Nodes=n[1-2] TotalCPUs=8"  # noqa: E501
ASSOCIATIONS = "lab||normal,long\nchem|gpu|normal\n"
# As sinfo fills its fields.
NODES = f"{'debug':64}|{'idle':20}|{'2':10}|{'0/8/0/8':50}|{'(null)':200}|{'gpu:0':400}|\n"
Slurm = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(
    import_remote: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Slurm:
    """Returns the reply of the program; by the first words of a command, what that command prints may be changed."""
    module: Any = import_remote("list_partitions")

    def ask(**changes: str | Exception) -> dict[str, Any]:
        outputs: dict[str, str | Exception] = {
            "config": CONFIG, "partition": PARTITION, "sacctmgr": ASSOCIATIONS, "squeue": "", "sinfo": NODES,
            **changes,
        }  # fmt: skip

        def run(command: list[str], max_bytes: int = 0) -> tuple[int, str, list[str]]:
            output = outputs[command[-1] if command[0] == "scontrol" else command[0]]
            if isinstance(output, Exception):
                raise output
            return 0, output, []

        monkeypatch.setattr(module.slurm, "run", run)
        module.main({})
        reply: dict[str, Any] = json.loads(capfd.readouterr().out)
        return reply

    return ask


def partition(**changes: str) -> str:
    """The line of scontrol with these fields changed."""
    fields = dict(pair.split("=") for pair in PARTITION.split())
    return " ".join(f"{name}={value}" for name, value in (fields | changes).items())


def nodes(**fields: str | int) -> str:
    """A line of sinfo, apart from `fields`."""
    values = {
        "partition": "debug",
        "state": "idle",
        "nodes": 1,
        "cpus": "0/4/0/4",
        "gres": "(null)",
        "used": "gpu:0",
    }
    return "".join(f"{value:20}|" for value in map(str, (values | fields).values())) + "\n"


def test_partition(ask: Slurm) -> None:
    """A partition has its limits in seconds, its nodes and CPUs, and the number of the jobs that wait for it."""
    reply = ask(squeue="debug\ngpu\ndebug,gpu\n")
    assert (reply["problem"], reply["cluster"], reply["version"]) == ("", "tests", "22.05.8")
    assert reply["accounts"] == ["chem", "lab"]
    assert reply["partitions"] == [
        {
            "name": "debug", "is_default": True, "time_limit_s": 93_600, "default_time_s": 600,
            "unavailable_reason": "", "unavailable_names": [], "nodes": 2, "free_nodes": 2, "cpus": 8, "free_cpus": 8,
            "gpus": {}, "waiting_jobs": 2,
        }
    ]  # fmt: skip


@pytest.mark.parametrize("limit", ["UNLIMITED", "INVALID", "", "1"])
def test_no_limit(ask: Slurm, limit: str) -> None:
    """What is not a time is no limit."""
    (entry,) = ask(partition=partition(MaxTime=limit, DefaultTime="NONE"))["partitions"]
    assert (entry["time_limit_s"], entry["default_time_s"]) == (None, None)


@pytest.mark.parametrize(
    ("fields", "unavailable_reason", "names"),
    [
        ({"State": "DRAIN"}, "down", []),
        ({"State": "INACTIVE"}, "down", []),
        ({"RootOnly": "YES"}, "root", []),
        ({"ReqResv": "YES"}, "reservation", []),
        ({"AllowAccounts": "physics,maths"}, "accounts", ["physics", "maths"]),
        ({"AllowAccounts": "physics,lab"}, "", []),
        ({"AllowAccounts": "chem"}, "accounts", ["chem"]),  # that one counts for the partition gpu only
        ({"DenyAccounts": "lab"}, "accounts", []),
        ({"DenyAccounts": "physics"}, "", []),
        ({"AllowQos": "short"}, "qos", ["short"]),
        ({"AllowQos": "short,long"}, "", []),
        ({"DenyQos": "normal,long"}, "qos", []),
        ({"PartitionName": "gpu", "AllowAccounts": "chem"}, "", []),
    ],
)
def test_unavailable(ask: Slurm, fields: dict[str, str], unavailable_reason: str, names: list[str]) -> None:
    """A partition is for whom its state, accounts and QOSs allow it, with the user's own associations."""
    (entry,) = ask(partition=partition(**fields))["partitions"]
    assert (entry["unavailable_reason"], entry["unavailable_names"]) == (unavailable_reason, names)


@pytest.mark.parametrize("associations", ["", "sacctmgr: error\n", "a|b\n"])
def test_no_accounting(ask: Slurm, associations: str) -> None:
    """Where the user has no association on record, no account hinders them."""
    reply = ask(sacctmgr=associations, partition=partition(AllowAccounts="physics"))
    assert reply["accounts"] is None
    assert reply["partitions"][0]["unavailable_reason"] == ""


@pytest.mark.parametrize(
    ("state", "free_nodes", "free_cpus"),
    [
        ("idle", 1, 4), ("idle~", 1, 4), ("mix", 0, 4), ("mix-", 0, 4), ("comp", 0, 4), ("plnd", 0, 4),
        ("idle*", 0, 0), ("down*", 0, 0), ("drain", 0, 0), ("drng", 0, 0), ("maint", 0, 0), ("resv", 0, 0),
    ],
)  # fmt: skip
def test_node_states(ask: Slurm, state: str, free_nodes: int, free_cpus: int) -> None:
    """Only a node that answers and takes jobs has something free."""
    (entry,) = ask(sinfo=nodes(state=state))["partitions"]
    assert (entry["nodes"], entry["free_nodes"]) == (1, free_nodes)
    assert (entry["cpus"], entry["free_cpus"]) == (4, free_cpus)


@pytest.mark.parametrize(
    ("gres", "used", "gpus"),
    [
        ("gpu:2", "gpu:0", {"gpu": (6, 6)}),
        ("gpu:2(S:0-1)", "gpu:1(IDX:1)", {"gpu": (6, 3)}),
        ("gpu:a100:4(S:0,1)", "gpu:a100:3(IDX:0,2-3)", {"a100": (12, 3)}),
        ("gpu:a100:2,gpu:v100:1,nic:2", "gpu:a100:2(IDX:0-1),gpu:v100:0(IDX:N/A)", {"a100": (6, 0), "v100": (3, 3)}),
        ("gpu:(null):2", "gpu:(null):1(IDX:0)", {"gpu": (6, 3)}),
        ("gpu:1", "gpu:2", {"gpu": (3, 0)}),
        ("nogpu:2,craygpu:3", "", {}),
    ],
)  # fmt: skip
def test_gpus(ask: Slurm, gres: str, used: str, gpus: dict[str, tuple[int, int]]) -> None:
    """GPUs are counted by type, over all nodes of the line; other generic resources are not."""
    (entry,) = ask(sinfo=nodes(nodes=3, state="mix", gres=gres, used=used))["partitions"]
    assert {kind: (count["total"], count["free"]) for kind, count in entry["gpus"].items()} == gpus


def test_private_queue(ask: Slurm) -> None:
    """Where users see their own jobs only, those that wait are not counted."""
    reply = ask(config=CONFIG.replace("none", "jobs,usage"), squeue="debug\n")
    assert reply["partitions"][0]["waiting_jobs"] is None


def test_queue_too_long_to_count(ask: Slurm, import_remote: Callable[[str], ModuleType]) -> None:
    """A queue that does not end is not counted either; another failure of squeue is an error."""
    slurm: Any = import_remote("slurm")
    reply = ask(squeue=slurm.SlurmError("slurm-flood", ["squeue"]))
    assert reply["partitions"][0]["waiting_jobs"] is None
    assert ask(squeue=slurm.SlurmError("slurm-timeout", ["squeue"]))["problem"] == "slurm-timeout"


@pytest.mark.parametrize(
    "output", ["", "\x1b[2J\x00" * 1000, "PartitionName=\x1b[2J State=UP", "PartitionName=a/b"]
)
def test_garbage(ask: Slurm, output: str) -> None:
    """An answer without a single partition is an error."""
    reply = ask(partition=output)
    assert (reply["problem"], reply["reason"]) == ("slurm-garbled", "scontrol show partition")


def test_hostile_lines(ask: Slurm) -> None:
    """Lines that cannot be parsed, those of unknown partitions and huge numbers count for nothing."""
    lines = [
        nodes(partition="other"), nodes(nodes=10**30), nodes(cpus="0/1/0/1e9"), nodes(state="\x1b[2Jidle"),
        "debug|" + "x" * 100_000 + "\n", nodes(gres="gpu:" + "9" * 50), nodes(gres="gpu:\x1b[2J:2"),
    ]  # fmt: skip
    reply = ask(sinfo="".join(lines), squeue="debug\n\x1b[2J\n" + "x" * 100_000)
    (entry,) = reply["partitions"]
    assert (entry["nodes"], entry["gpus"], entry["waiting_jobs"]) == (2, {}, 1)
    assert ask(config="ClusterName = \x1b[2J\nSLURM_VERSION = $(id)")["cluster"] == ""


def test_many_partitions(ask: Slurm) -> None:
    """The reply has a bounded number of partitions, accounts and names."""
    names = [f"p{number}" for number in range(1000)]
    reply = ask(
        partition="\n".join(
            partition(PartitionName=name, AllowAccounts=",".join(names[:100])) for name in names
        ),
        sacctmgr="".join(f"lab{name}||normal\n" for name in names),
    )
    assert len(reply["partitions"]) == 200
    assert (len(reply["accounts"]), len(reply["partitions"][0]["unavailable_names"])) == (500, 20)
