"""The configuration of the tests' Slurm cluster (slurm.conf(5), gres.conf(5)): small, and fast to notice things."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CLUSTER_NAME = "tests"
CONTROLLER = "login"
# /dev/null (null(4)). Slurm counts only devices.
NULL_DEVICE = 1, 3
LIMITED_PARTITION_MAX_MINUTES = 1
# Without cgroups, which a container may not have. Jobs are started at once, and a node that is silent for 5 s is down.
COMMON = f"""\
ClusterName={CLUSTER_NAME}
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmctldTimeout=5
SlurmdTimeout=5
KillWait=3
CompleteWait=0
MessageTimeout=3
TCPTimeout=2
UnkillableStepTimeout=20
SlurmctldDebug=verbose
SlurmdDebug=verbose
"""


@dataclass(frozen=True)
class Node:
    """A compute node."""

    name: str
    address: str
    cpus: int = 2
    gpus: int = 0


NODES = (
    Node("node1", "198.51.100.11"),
    Node("node2", "198.51.100.12"),
    Node("gpu1", "198.51.100.13", gpus=2),
)
# `debug` is the default. Jobs in `urgent` preempt those in `debug`, which are requeued where the job allows it.
PARTITIONS = f"""\
PartitionName=debug Nodes=node1,node2 Default=YES DefaultTime=10 MaxTime=60 PriorityTier=1
PartitionName=gpu Nodes=gpu1 DefaultTime=10 MaxTime=60 PriorityTier=1
PartitionName=limited Nodes=node1,node2 MaxTime={LIMITED_PARTITION_MAX_MINUTES} PriorityTier=1
PartitionName=urgent Nodes=node1,node2 DefaultTime=10 MaxTime=60 PriorityTier=10 PreemptMode=off
"""

SPOOL = "/run/slurmd"
"""The spool directory of slurmd on each node; short, because there are Unix sockets in it (unix(7): 108 bytes)."""


def write_configuration(
    folder: Path, address: str, logs: Path, state: Path, nodes: Iterable[Node], accounting: str
) -> None:
    """Write slurm.conf, gres.conf and files that stand for the GPUs to what is /etc/slurm on each machine."""
    folder.mkdir(mode=0o755)
    lines = [
        f"SlurmctldHost={CONTROLLER}({address})",
        f"SlurmctldLogFile={logs}/slurmctld.log",
        f"SlurmdLogFile={logs}/slurmd-%n.log",
        f"StateSaveLocation={state}/slurmctld",
        f"SlurmdSpoolDir={SPOOL}",
    ]
    devices = []
    for node in nodes:
        resources = f"CPUs={node.cpus} RealMemory=4000" + (f" Gres=gpu:{node.gpus}" if node.gpus else "")
        lines.append(f"NodeName={node.name} NodeHostname={node.name} NodeAddr={node.address} {resources}")
        for number in range(node.gpus):
            device = folder / f"nvidia{number}"
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(*NULL_DEVICE))
            devices.append(f"NodeName={node.name} Name=gpu File=/etc/slurm/{device.name}")
    (folder / "slurm.conf").write_text(COMMON + accounting + "\n".join(lines) + "\n" + PARTITIONS)
    # Otherwise slurmd ends where no cgroup file system is mounted, although no plugin here uses one.
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    (folder / "gres.conf").write_text("\n".join(devices) + "\n")
