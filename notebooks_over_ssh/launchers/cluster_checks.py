"""Whether the settings of the job fit the cluster, for `doctor`."""

from notebooks_over_ssh.config.schema import Job
from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.launchers.base import Cluster, Partition
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.duration import describe_duration
from notebooks_over_ssh.util.peer_text import quote

MAX_LISTED = 6


def check_partitions(cluster: Cluster, job: Job) -> str:
    """The partitions that the user may use, with their limits and free nodes.

    Raises RemoteError if the job's is not one of them.
    """
    by_name = {partition.name: partition for partition in cluster.partitions}
    hint = f"set notebook.job.partition to one that {command('clusters.partitions')} shows for you"
    for name in job.partition.split(",") if job.partition else ():
        if name not in by_name:
            raise RemoteError(f"the cluster has no partition {quote(name)}, or hides it from you", hint=hint)
        if by_name[name].unavailable_reason:
            raise RemoteError(
                f"the partition {name} is not for you: {by_name[name].unavailable_reason}", hint=hint
            )
    if not job.partition and not any(partition.is_default for partition in cluster.partitions):
        raise RemoteError("the cluster has no default partition", hint=hint)
    usable = [partition for partition in cluster.partitions if not partition.unavailable_reason]
    more = len(usable) - MAX_LISTED
    rest = f" and {more} more ({command('clusters.partitions')})" if more > 0 else ""
    return ", ".join(map(_describe, usable[:MAX_LISTED])) + rest


def _describe(partition: Partition) -> str:
    limit = "" if partition.time_limit_s is None else f"up to {describe_duration(partition.time_limit_s)}, "
    return f"{partition.name} ({limit}{partition.free_nodes} of {partition.nodes} nodes free)"


def check_account(cluster: Cluster, job: Job) -> str:
    """The accounts that the job may be charged to. Raises RemoteError if the job's is not one of them."""
    if cluster.accounts is None:
        return "the cluster has none on record for you"
    accounts = ", ".join(cluster.accounts[:MAX_LISTED])
    if job.account and job.account.lower() not in cluster.accounts:
        raise RemoteError(
            f"{quote(job.account)} is none of your accounts on the cluster, which are {accounts}",
            hint="set notebook.job.account to one of yours",
        )
    return accounts
