"""Lists the partitions of a Slurm cluster: their limits, what is free, how many jobs wait, and who may use them.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os
import pwd
import re
from collections import Counter

import slurm
from common import reply

MAX_PARTITIONS = 200
MAX_QUEUE_BYTES = 4 * 1024 * 1024
MAX_ACCOUNTS, MAX_NAMES = 500, 20
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")
VERSION = re.compile(r"[0-9][0-9A-Za-z.-]{0,31}")
# scontrol(1), `show partition` and `show config`. No value that is used here has a space.
PAIR = re.compile(r"(\w{1,40})\s*=\s*(\S*)")
TIME = re.compile(r"(?:(\d{1,6})-)?(\d{1,2}):(\d\d):(\d\d)")
# sinfo(1), --Format: each field is cut to the number of columns, and followed by a `|`. Nodes that agree in all fields
# but their number share a line.
NODE_FIELDS = "PartitionName:64|,StateCompact:20|,Nodes:10|,CPUsState:50|,Gres:200|,GresUsed:400|"
NODE_LINE = re.compile(
    r"(?P<partition>[^|]*)\|(?P<state>[a-z]{2,20})(?P<flag>[*~#!%$@^-]?) *\|(?P<nodes>\d{1,8}) *"
    r"\|\d{1,9}/(?P<idle>\d{1,9})/\d{1,9}/(?P<cpus>\d{1,9}) *\|(?P<gres>[^|]*)\|(?P<used>[^|]*)\|"
)
# sinfo(1), NODE STATE CODES: those in which jobs may run. `*` is a node that does not answer.
USABLE = ("alloc", "comp", "idle", "mix", "plnd")
GPU = re.compile(r"(?:^|,)gpu(?::([A-Za-z0-9_.-]{1,64}|\(null\)))?:(\d{1,6})(?=$|[,( ])")


def main(parameters):
    try:
        config = dict(PAIR.findall(output_of("scontrol", "show", "config")))
        accounts = associations()
        waiting = waiting_jobs() if "jobs" not in config.get("PrivateData", "") else None
        partitions = [
            describe(fields, accounts) for fields in map(parse_partition, partition_lines()) if fields
        ]
        if not partitions:
            raise slurm.SlurmError("slurm-garbled", ["scontrol show partition"])
        add_nodes({partition["name"]: partition for partition in partitions})
    except slurm.SlurmError as error:
        return reply(**error.fields)
    for partition in partitions:
        partition["waiting_jobs"] = None if waiting is None else waiting[partition["name"]]
    version = config.get("SLURM_VERSION", "")
    cluster = config.get("ClusterName", "")
    reply(
        problem="",
        cluster=cluster if slurm.CLUSTER_NAME.fullmatch(cluster) else "",
        version=version if VERSION.fullmatch(version) else "",
        accounts=None if accounts is None else sorted({row["account"] for row in accounts})[:MAX_ACCOUNTS],
        partitions=partitions[:MAX_PARTITIONS],
    )


def output_of(*command, **limit):
    """What the command prints. Raises SlurmError, also if it fails."""
    status, output, errors = slurm.run(list(command), **limit)
    if status:
        raise slurm.SlurmError("slurm-failed", errors)
    return output


def partition_lines():
    """A line for each partition that is not hidden from this user's groups. Raises SlurmError."""
    return output_of("scontrol", "--oneliner", "show", "partition", max_bytes=MAX_QUEUE_BYTES).splitlines()


def parse_partition(line):
    """The fields of the line; None if it is not one about a partition."""
    fields = dict(PAIR.findall(line))
    return fields if NAME.fullmatch(fields.get("PartitionName", "")) else None


def associations():
    """The user's accounts, as dicts with the partition and the QOSs; None without accounting. Raises SlurmError."""
    user = pwd.getpwuid(os.getuid()).pw_name
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "associations", "user=" + user]
    try:
        status, output, _ = slurm.run(command + ["format=Account,Partition,QOS"])
    except slurm.SlurmError:  # it is not installed everywhere
        return None
    rows = [line.split("|") for line in output.splitlines()]
    rows = [row for row in rows if len(row) == 3 and NAME.fullmatch(row[0])]
    associations = [dict(account=row[0], partition=row[1], qos=row[2].split(",")) for row in rows]
    return associations if associations and not status else None


def waiting_jobs():
    """How many jobs wait for each partition; an array of jobs counts once. None if there are too many to count."""
    command = ["squeue", "--local", "--noheader", "--states=PENDING", "--format=%P"]
    try:
        output = output_of(*command, max_bytes=MAX_QUEUE_BYTES)
    except slurm.SlurmError as error:
        if error.fields["problem"] == "slurm-flood":
            return None
        raise
    return Counter(name for line in output.splitlines() for name in line.strip().split(","))


def describe(fields, accounts):
    """The partition of these fields, still without its nodes."""
    unavailable_reason, names = find_unavailable_reason(fields, accounts)
    return dict(
        name=fields["PartitionName"],
        is_default=fields.get("Default") == "YES",
        time_limit_s=seconds(fields.get("MaxTime", "")),
        default_time_s=seconds(fields.get("DefaultTime", "")),
        unavailable_reason=unavailable_reason,
        unavailable_names=names,
        nodes=0,
        free_nodes=0,
        cpus=0,
        free_cpus=0,
        gpus={},
    )


def find_unavailable_reason(fields, accounts):
    """Why this user's jobs do not run in the partition, and which accounts or QOSs it is for; ("", []) if they do.

    Slurm itself does not show the partitions that AllowGroups closes to the user.
    """
    if fields.get("State") != "UP":
        return "down", []
    if fields.get("RootOnly") == "YES":
        return "root", []
    if fields.get("ReqResv") == "YES":
        return "reservation", []
    if accounts is None:
        return "", []
    allowed, denied = names_in(fields, "AllowAccounts"), names_in(fields, "DenyAccounts") or []
    rows = [row for row in accounts if row["partition"] in ("", fields["PartitionName"])]
    rows = [row for row in rows if (row["account"] in allowed if allowed else row["account"] not in denied)]
    if not rows:
        return "accounts", (allowed or [])[:MAX_NAMES]
    allowed, denied = names_in(fields, "AllowQos"), names_in(fields, "DenyQos") or []
    if not any(qos in allowed if allowed else qos not in denied for row in rows for qos in row["qos"]):
        return "qos", (allowed or [])[:MAX_NAMES]
    return "", []


def names_in(fields, name):
    """The names that the field lists; None if it stands for all, or is not there."""
    value = fields.get(name, "ALL")
    return None if value in ("ALL", "") else [item for item in value.split(",") if NAME.fullmatch(item)]


def seconds(text):
    """A time of Slurm in seconds; None if there is no limit."""
    match = TIME.fullmatch(text)
    if not match:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def add_nodes(partitions):
    """Count the nodes, CPUs and GPUs of each partition, and those that are free. Raises SlurmError."""
    output = output_of("sinfo", "--noheader", "--Format=" + NODE_FIELDS, max_bytes=MAX_QUEUE_BYTES)
    for line in output.splitlines():
        match = NODE_LINE.fullmatch(line.rstrip())
        partition = partitions.get(match.group("partition").strip()) if match else None
        if partition is None:
            continue
        number = int(match.group("nodes"))
        is_usable = match.group("state") in USABLE and match.group("flag") != "*"
        partition["nodes"] += number
        partition["cpus"] += int(match.group("cpus"))
        if is_usable:
            partition["free_cpus"] += int(match.group("idle"))
        if is_usable and match.group("state") == "idle":
            partition["free_nodes"] += number
        used = Counter()
        for kind, count in GPU.findall(match.group("used")):
            used[gpu_type(kind)] += int(count)
        for kind, count in GPU.findall(match.group("gres").strip()):
            gpus = partition["gpus"].setdefault(gpu_type(kind), dict(total=0, free=0))
            gpus["total"] += number * int(count)
            if is_usable:
                gpus["free"] += number * max(0, int(count) - used[gpu_type(kind)])


def gpu_type(name):
    """The type of the GPUs; "gpu" where they have none."""
    return name if name and name != "(null)" else "gpu"
