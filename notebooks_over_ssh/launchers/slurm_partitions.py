"""What Slurm says of a cluster's partitions, validated and in words."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from notebooks_over_ssh.launchers.base import Cluster, Name, Partition
from notebooks_over_ssh.util.duration import describe_duration

SOON_S = 60
"""An estimate below this is no wait."""

OptionalName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{0,64}\Z")]
Names = Annotated[tuple[Name, ...], Meta(max_length=20)]
UnavailableReason = Literal["", "down", "root", "reservation", "accounts", "qos"]
UNAVAILABLE_REASONS: dict[UnavailableReason, str] = {
    "": "",
    "down": "takes no jobs",
    "root": "for administrators",
    "reservation": "for jobs with a reservation",
    "accounts": "for other accounts",
    "qos": "for other QOSs",
}


class PartitionEntry(Partition, frozen=True, kw_only=True):
    """A partition in the reply of list_partitions.py."""

    unavailable_reason: UnavailableReason
    unavailable_names: Names

    def to_partition(self) -> Partition:
        """The partition, with the reason in words why jobs do not run in it."""
        fields = {name: getattr(self, name) for name in Partition.__struct_fields__}
        names = f": {', '.join(self.unavailable_names)}" if self.unavailable_names else ""
        return Partition(
            **fields | {"unavailable_reason": UNAVAILABLE_REASONS[self.unavailable_reason] + names}
        )


class StartEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of estimate_start.py."""

    starts_in_s: Annotated[int, Meta(ge=0, le=10**10)] | None
    """None if Slurm accepts the job, and says no more."""
    partition: OptionalName

    def describe(self) -> str:
        """The estimate in words."""
        if self.starts_in_s is None:
            return "Slurm would accept it"
        partition = f" in the partition {self.partition}" if self.partition else ""
        when = f"in {describe_duration(self.starts_in_s)}" if self.starts_in_s >= SOON_S else "at once"
        return f"Slurm would accept it, and start it{partition} {when}"


class ClusterReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of list_partitions.py."""

    cluster: OptionalName
    version: OptionalName
    accounts: Annotated[tuple[Name, ...], Meta(max_length=500)] | None
    partitions: Annotated[tuple[PartitionEntry, ...], Meta(max_length=200)]

    def to_cluster(self) -> Cluster:
        """The cluster in words."""
        name = f", cluster {self.cluster}" if self.cluster else ""
        return Cluster(
            f"Slurm {self.version}{name}",
            self.accounts,
            tuple(entry.to_partition() for entry in self.partitions),
        )
