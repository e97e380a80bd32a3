"""clusters.partitions: show the partitions of a cluster, what is free in each, and which the user may use."""

import msgspec

from notebooks_over_ssh.jupyter.connecting import connect_to_login
from notebooks_over_ssh.launchers import DEFAULT_SCHEDULER, SCHEDULERS
from notebooks_over_ssh.launchers.base import Cluster, Partition
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.terminal import print_json, print_line, print_step, progress
from notebooks_over_ssh.util.duration import describe_duration

COLUMNS = ("partition", "time limit", "free nodes", "free CPUs", "free GPUs", "jobs waiting", "for you")


def partitions(run: Run) -> None:
    """Print the partitions as a table. Raises a UserError."""
    with progress("partitions", "asking the scheduler"):
        connection, cluster = _cluster(run)
    print_step(connection.label, cluster.description)
    for line in table(cluster.partitions):
        print_line(line)


def partitions_as_json(run: Run) -> None:
    """Print the partitions as a JSON list. Raises a UserError."""
    print_json([to_json(partition) for partition in _cluster(run)[1].partitions])


def _cluster(run: Run) -> tuple[Connection, Cluster]:
    connection = connect_to_login(run.settings, run.credentials)
    launcher = run.settings.notebook.launcher
    scheduler = SCHEDULERS[launcher if launcher in SCHEDULERS else DEFAULT_SCHEDULER]
    return connection, scheduler.cluster(connection)


def table(partitions: tuple[Partition, ...]) -> list[str]:
    """The lines of the table, with aligned columns. Partitions that the user may use come first."""
    rows = [
        COLUMNS,
        *map(_cells, sorted(partitions, key=lambda partition: bool(partition.unavailable_reason))),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _cells(partition: Partition) -> tuple[str, ...]:
    limit = "none" if partition.time_limit_s is None else describe_duration(partition.time_limit_s)
    gpus = ", ".join(
        f"{'' if kind == 'gpu' else f'{kind} '}{gpu.free} of {gpu.total}"
        for kind, gpu in sorted(partition.gpus.items())
    )
    return (
        partition.name + (" (default)" if partition.is_default else ""),
        limit,
        f"{partition.free_nodes} of {partition.nodes}",
        f"{partition.free_cpus} of {partition.cpus}",
        gpus or "-",
        "not shown" if partition.waiting_jobs is None else str(partition.waiting_jobs),
        f"no: {partition.unavailable_reason}" if partition.unavailable_reason else "yes",
    )


def to_json(partition: Partition) -> dict[str, object]:
    """The partition for programs."""
    fields: dict[str, object] = msgspec.to_builtins(partition)
    return fields | {"unavailable_reason": partition.unavailable_reason or None}
