"""What squeue, sinfo and scontrol say of jobs, nodes and partitions."""

import os
from collections.abc import Iterable, Mapping

from notebooks_over_ssh.sandbox.environment import user_name
from notebooks_over_ssh.sandbox.toy_slurm.queue import (
    DEFAULT_PARTITION,
    PARTITIONS,
    Job,
    Node,
    Partition,
    Queue,
)
from notebooks_over_ssh.sandbox.toy_slurm.tables import Column, duration, moment, padded_duration

# squeue(1), JOB STATE CODES.
STATE_CODES = {
    "PENDING": "PD",
    "RUNNING": "R",
    "COMPLETING": "CG",
    "COMPLETED": "CD",
    "FAILED": "F",
    "CANCELLED": "CA",
    "TIMEOUT": "TO",
    "NODE_FAIL": "NF",
}
JOB_TITLES = {
    "i": "JOBID", "A": "JOBID", "j": "NAME", "k": "COMMENT", "u": "USER", "U": "UID", "P": "PARTITION",
    "T": "STATE", "t": "ST", "r": "REASON", "R": "NODELIST(REASON)", "N": "NODELIST", "B": "EXEC_HOST",
    "D": "NODES", "C": "CPUS", "m": "MIN_MEMORY", "b": "TRES_PER_NODE", "Z": "WORK_DIR", "M": "TIME",
    "l": "TIME_LIMIT", "L": "TIME_LEFT", "V": "SUBMIT_TIME", "S": "START_TIME", "e": "END_TIME",
}  # fmt: skip
NODE_TITLES = {
    "P": "PARTITION", "R": "PARTITION", "a": "AVAIL", "l": "TIMELIMIT", "L": "DEFAULTTIME", "D": "NODES",
    "t": "STATE", "T": "STATE", "N": "NODELIST", "c": "CPUS", "m": "MEMORY", "G": "GRES", "f": "FEATURES",
    "C": "CPUS(A/I/O/T)", "F": "NODES(A/I/O/T)", "A": "NODES(A/I)", "GresUsed": "GRES_USED",
}  # fmt: skip
LONG_NAMES = {
    "Partition": "P", "PartitionName": "R", "Available": "a", "Time": "l", "DefaultTime": "L", "Nodes": "D",
    "StateCompact": "t", "StateLong": "T", "NodeList": "N", "CPUs": "c", "CPUsState": "C", "Memory": "m",
    "Gres": "G", "GresUsed": "GresUsed", "Features": "f",
}  # fmt: skip
"""The column for a name in --Format of sinfo(1)."""
# Their values are of all nodes in a line of sinfo, not of each.
_OF_ALL_NODES = frozenset("DNCFA")
_LONG_STATES = {"alloc": "allocated", "mix": "mixed", "idle": "idle"}


def job_row(queue: Queue, job: Job, now: float, time_format: str) -> dict[str, object]:
    """The values for squeue."""
    request, reason = job.request, queue.reason(job, now)
    return {
        "i": job.id,
        "A": job.id,
        "j": request.name,
        "k": request.comment or "(null)",
        "u": user_name(),
        "U": os.getuid(),
        "P": request.partition,
        "T": job.state,
        "t": STATE_CODES[job.state],
        "r": reason,
        "R": job.node or f"({reason})",
        "N": job.node,
        "B": job.node or "n/a",
        "D": 1,
        "C": request.cpus,
        "m": f"{request.memory_mb}M",
        "b": f"gres:gpu:{request.gpus}" if request.gpus else "N/A",
        "Z": request.folder,
        "M": duration(_elapsed_s(job, now)),
        "l": duration(request.limit_s),
        "L": duration(max(0.0, job.limit_at - now) if job.started else request.limit_s),
        "V": moment(job.submitted, time_format),
        "S": moment(queue.expected_start(job, now), time_format),
        "e": moment(_end(job), time_format),
    }


def node_rows(
    queue: Queue, partitions: Iterable[Partition], columns: list[Column]
) -> list[Mapping[str, object]]:
    """The values for sinfo: nodes of a partition share a line if they differ in no column about one node."""
    group_columns = [column.name for column in columns if column.name not in _OF_ALL_NODES]
    rows: list[Mapping[str, object]] = []
    for partition in partitions:
        groups: dict[tuple[object, ...], list[Node]] = {}
        for node in partition.nodes:
            row = _node_row(queue, partition, [node])
            groups.setdefault(tuple(row.get(name) for name in group_columns), []).append(node)
        rows += [_node_row(queue, partition, nodes) for nodes in groups.values()]
    return rows


def describe_job(queue: Queue, job: Job, now: float, time_format: str) -> dict[str, object]:
    """What `scontrol show job` prints."""
    request = job.request
    return {
        "JobId": job.id,
        "JobName": request.name,
        "UserId": f"{user_name()}({os.getuid()})",
        "JobState": job.state,
        "Reason": queue.reason(job, now),
        "Dependency": "(null)",
        "Requeue": 0,
        "RunTime": padded_duration(_elapsed_s(job, now)),
        "TimeLimit": padded_duration(request.limit_s),
        "SubmitTime": moment(job.submitted, time_format),
        "StartTime": moment(queue.expected_start(job, now), time_format),
        "EndTime": moment(_end(job), time_format),
        "Partition": request.partition,
        "NodeList": job.node or "(null)",
        "NumNodes": 1,
        "NumCPUs": request.cpus,
        "MinMemoryNode": f"{request.memory_mb}M",
        "Comment": request.comment,
        "WorkDir": request.folder,
        "StdIn": request.stdin,
        "StdOut": request.stdout,
        "StdErr": request.stderr,
    }


def describe_partition(partition: Partition) -> dict[str, object]:
    """What `scontrol show partition` prints."""
    return {
        "PartitionName": partition.name,
        "Default": "YES" if partition.name == DEFAULT_PARTITION else "NO",
        "DefaultTime": padded_duration(partition.default_s),
        "MaxTime": padded_duration(partition.max_s),
        "Nodes": ",".join(node.name for node in partition.nodes),
        "State": "UP",
        "TotalCPUs": sum(node.cpus for node in partition.nodes),
        "TotalNodes": len(partition.nodes),
    }


def describe_node(queue: Queue, node: Node) -> dict[str, object]:
    """What `scontrol show node` prints."""
    cpus, memory_mb, _ = queue.free(node)
    return {
        "NodeName": node.name,
        "CPUAlloc": node.cpus - cpus,
        "CPUTot": node.cpus,
        "RealMemory": node.memory_mb,
        "AllocMem": node.memory_mb - memory_mb,
        "Gres": f"gpu:{node.gpus}" if node.gpus else "(null)",
        "State": _LONG_STATES[_state(queue, node)].upper(),
        "Partitions": ",".join(name for name, partition in PARTITIONS.items() if node in partition.nodes),
    }


def _node_row(queue: Queue, partition: Partition, nodes: list[Node]) -> dict[str, object]:
    """The values of a line about some nodes of a partition, which are alike."""
    node = nodes[0]
    state = _state(queue, node)
    cpus, free_cpus = sum(node.cpus for node in nodes), sum(queue.free(node)[0] for node in nodes)
    idle = sum(_state(queue, node) == "idle" for node in nodes)
    busy = len(nodes) - idle
    return {
        "P": partition.name + ("*" if partition.name == DEFAULT_PARTITION else ""),
        "R": partition.name,
        "a": "up",
        "l": duration(partition.max_s),
        "L": duration(partition.default_s),
        "D": len(nodes),
        "t": state,
        "T": _LONG_STATES[state],
        "N": ",".join(node.name for node in nodes),
        "c": node.cpus,
        "m": node.memory_mb,
        "G": f"gpu:{node.gpus}" if node.gpus else "(null)",
        "GresUsed": f"gpu:{node.gpus - queue.free(node)[2]}",
        "f": "(null)",
        "C": f"{cpus - free_cpus}/{free_cpus}/0/{cpus}",
        "F": f"{busy}/{idle}/0/{len(nodes)}",
        "A": f"{busy}/{idle}",
    }


def _state(queue: Queue, node: Node) -> str:
    free_cpus = queue.free(node)[0]
    return "idle" if free_cpus == node.cpus else "mix" if free_cpus else "alloc"


def _elapsed_s(job: Job, now: float) -> float:
    return (job.ended or now) - job.started if job.started else 0.0


def _end(job: Job) -> float | None:
    """When the job ended, or a running one has to."""
    return job.ended or (job.limit_at if job.started else None)
