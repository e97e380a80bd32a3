"""What is measured of a forwarder, and how much of it."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import workloads
from .competitors import Forwarder
from .workloads import Amount


class Metric(NamedTuple):
    """One number of a measure, as the table shows it."""

    title: str
    unit: str
    more_is_better: bool


class Profile(NamedTuple):
    """How much is measured. The amounts are such that the slowest takes seconds and the quickest more than one."""

    rounds: int
    near: Amount
    far: Amount
    many: Amount
    echo_rtts: int
    openings: int
    settle_s: float
    limit_s: float
    idle_s: float


FULL = Profile(
    rounds=3,
    near=Amount(400, 6.0),
    far=Amount(600, 15.0),
    many=Amount(400, 15.0),
    echo_rtts=500,
    openings=100,
    settle_s=1.0,
    limit_s=5.0,
    idle_s=60.0,
)
QUICK = Profile(
    rounds=1,
    near=Amount(50, 1.0),
    far=Amount(25, 2.0),
    many=Amount(50, 1.5),
    echo_rtts=100,
    openings=10,
    settle_s=0.3,
    limit_s=0.7,
    idle_s=3.0,
)

PIECES_OF_A_CELL = 4
Values = Sequence[float | None]


class Measure(NamedTuple):
    """What is done, and the figures that come of it, in that order; None where there is nothing to be said."""

    run: Callable[[Forwarder, Profile], Values]
    metrics: tuple[Metric, ...]


def _percentile(values: list[float], percent: int) -> float:
    return (
        statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]
    )


def _with_resources(
    forwarder: Forwarder, move: Callable[[int, Amount], workloads.TransferResult], amount: Amount
) -> tuple[float, float | None]:
    before_s = forwarder.cpu_s()
    transfer = move(forwarder.port, amount)
    after_s = forwarder.cpu_s()
    if before_s is None or after_s is None:
        return transfer.megabytes_per_s, None
    return transfer.megabytes_per_s, (after_s - before_s) / (transfer.size / 1e9)


def _download(forwarder: Forwarder, profile: Profile) -> Values:
    return _with_resources(forwarder, workloads.download, profile.near)


def _upload(forwarder: Forwarder, profile: Profile) -> Values:
    return _with_resources(forwarder, workloads.upload, profile.near)


def _idle_round_trip(forwarder: Forwarder, profile: Profile) -> Values:
    values = workloads.echo_rtts(forwarder.port, profile.echo_rtts, profile.limit_s)
    return [_percentile(values, percent) * 1000 for percent in (50, 99)]


def _round_trip_under_load(forwarder: Forwarder, profile: Profile) -> Values:
    with workloads.load(forwarder.port, profile.settle_s) as beside:
        started_at = time.monotonic(), beside.size
        values = workloads.echo_rtts(forwarder.port, profile.echo_rtts, profile.limit_s)
        meanwhile = (beside.size - started_at[1]) / 1e6 / (time.monotonic() - started_at[0])
    return [*(_percentile(values, percent) * 1000 for percent in (50, 99)), meanwhile]


def _printing(forwarder: Forwarder, profile: Profile) -> Values:
    values = workloads.print_latency(forwarder.port, profile.openings, profile.limit_s, PIECES_OF_A_CELL)
    return [_percentile(values, 50) * 1000]


def _opening(forwarder: Forwarder, profile: Profile) -> Values:
    return [statistics.median(workloads.openings(forwarder.port, profile.openings, profile.limit_s)) * 1000]


def _connections_at_once(connections: int) -> Callable[[Forwarder, Profile], Values]:
    def run(forwarder: Forwarder, profile: Profile) -> Values:
        return [workloads.download_on_many(forwarder.port, connections, profile.many).megabytes_per_s]

    return run


def _memory(forwarder: Forwarder, profile: Profile) -> Values:
    return [forwarder.peak_mb()]


def _far_download(forwarder: Forwarder, profile: Profile) -> Values:
    return [workloads.download(forwarder.port, profile.far).megabytes_per_s]


def _far_upload(forwarder: Forwarder, profile: Profile) -> Values:
    return [workloads.upload(forwarder.port, profile.far).megabytes_per_s]


DOWNLOAD = Metric("download", "MB/s", True)
UPLOAD = Metric("upload", "MB/s", True)
ROUND_TRIP = Metric("round trip, p50", "ms", False)
LOADED_ROUND_TRIP = Metric("… during a download, p99", "ms", False)
PRINTING = Metric(f"{PIECES_OF_A_CELL} lines, 1 ms apart, p50", "ms", False)
OPENING = Metric("opening a connection, p50", "ms", False)
MEMORY = Metric("memory, at its peak", "MB", False)
FAR_DOWNLOAD = Metric("download, far", "MB/s", True)
FAR_UPLOAD = Metric("upload, far", "MB/s", True)
IDLE = Metric("CPU of one core while idle", "%", False)

NEAR = (
    Measure(_download, (DOWNLOAD, Metric("CPU to download", "s/GB", False))),
    Measure(_upload, (UPLOAD, Metric("CPU to upload", "s/GB", False))),
    Measure(_idle_round_trip, (ROUND_TRIP, Metric("round trip, p99", "ms", False))),
    Measure(
        _round_trip_under_load,
        (
            Metric("… during a download, p50", "ms", False),
            LOADED_ROUND_TRIP,
            Metric("… and that download", "MB/s", True),
        ),
    ),
    Measure(_printing, (PRINTING,)),
    Measure(_opening, (OPENING,)),
    Measure(_connections_at_once(16), (Metric("download on 16 at once", "MB/s", True),)),
    Measure(_connections_at_once(128), (Metric("download on 128 at once", "MB/s", True),)),
    Measure(_memory, (MEMORY,)),
)
FAR = (Measure(_far_download, (FAR_DOWNLOAD,)), Measure(_far_upload, (FAR_UPLOAD,)))
METRICS = tuple(metric for measure in (*NEAR, *FAR) for metric in measure.metrics) + (IDLE,)
