"""Metrics of a forwarder, and the workloads that measure them."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import workloads
from .competitors import Forwarder
from .workloads import Amount


class Metric(NamedTuple):
    """A row of the table."""

    title: str
    unit: str
    more_is_better: bool


class Profile(NamedTuple):
    """Sizes of the workloads. A transfer takes the fastest competitor more than a second, and the slowest a few."""

    rounds: int
    near: Amount
    far: Amount
    many: Amount
    echo_rtts: int
    connections: int
    settle_s: float
    limit_s: float
    idle_s: float


FULL = Profile(
    rounds=3,
    near=Amount(400, 6.0),
    far=Amount(600, 15.0),
    many=Amount(400, 15.0),
    echo_rtts=500,
    connections=100,
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
    connections=10,
    settle_s=0.3,
    limit_s=0.7,
    idle_s=3.0,
)

LINES_PER_CELL = 4
Values = Sequence[float | None]


class Measurement(NamedTuple):
    """A workload, and the metrics that it yields, in the same order as `run`'s values; None: not applicable."""

    run: Callable[[Forwarder, Profile], Values]
    metrics: tuple[Metric, ...]


def _percentile(values: list[float], percent: int) -> float:
    return (
        statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]
    )


def _with_cpu(
    forwarder: Forwarder, transfer: Callable[[int, Amount], workloads.TransferResult], amount: Amount
) -> tuple[float, float | None]:
    before_s = forwarder.cpu_s()
    result = transfer(forwarder.port, amount)
    after_s = forwarder.cpu_s()
    if before_s is None or after_s is None:
        return result.megabytes_per_s, None
    return result.megabytes_per_s, (after_s - before_s) / (result.size / 1e9)


def _download(forwarder: Forwarder, profile: Profile) -> Values:
    return _with_cpu(forwarder, workloads.download, profile.near)


def _upload(forwarder: Forwarder, profile: Profile) -> Values:
    return _with_cpu(forwarder, workloads.upload, profile.near)


def _round_trip_idle(forwarder: Forwarder, profile: Profile) -> Values:
    values = workloads.echo_rtts(forwarder.port, profile.echo_rtts, profile.limit_s)
    return [_percentile(values, percent) * 1000 for percent in (50, 99)]


def _round_trip_under_load(forwarder: Forwarder, profile: Profile) -> Values:
    with workloads.background_download(forwarder.port, profile.settle_s) as background:
        started_at, size_before = time.monotonic(), background.size
        values = workloads.echo_rtts(forwarder.port, profile.echo_rtts, profile.limit_s)
        throughput = (background.size - size_before) / 1e6 / (time.monotonic() - started_at)
    return [*(_percentile(values, percent) * 1000 for percent in (50, 99)), throughput]


def _print_latency(forwarder: Forwarder, profile: Profile) -> Values:
    values = workloads.print_latency(forwarder.port, profile.connections, profile.limit_s, LINES_PER_CELL)
    return [_percentile(values, 50) * 1000]


def _connect_time(forwarder: Forwarder, profile: Profile) -> Values:
    return [
        statistics.median(workloads.connect_times(forwarder.port, profile.connections, profile.limit_s))
        * 1000
    ]


def _concurrent_downloads(connections: int) -> Callable[[Forwarder, Profile], Values]:
    def run(forwarder: Forwarder, profile: Profile) -> Values:
        return [workloads.concurrent_downloads(forwarder.port, connections, profile.many).megabytes_per_s]

    return run


def _peak_memory(forwarder: Forwarder, profile: Profile) -> Values:
    return [forwarder.peak_mb()]


def _far_download(forwarder: Forwarder, profile: Profile) -> Values:
    return [workloads.download(forwarder.port, profile.far).megabytes_per_s]


def _far_upload(forwarder: Forwarder, profile: Profile) -> Values:
    return [workloads.upload(forwarder.port, profile.far).megabytes_per_s]


DOWNLOAD = Metric("download", "MB/s", True)
UPLOAD = Metric("upload", "MB/s", True)
ROUND_TRIP = Metric("round trip, p50", "ms", False)
LOADED_ROUND_TRIP = Metric("… during a download, p99", "ms", False)
PRINT_LATENCY = Metric(f"{LINES_PER_CELL} lines, 1 ms apart, p50", "ms", False)
CONNECT = Metric("connection set-up, p50", "ms", False)
MEMORY = Metric("peak memory", "MB", False)
FAR_DOWNLOAD = Metric("download, far", "MB/s", True)
FAR_UPLOAD = Metric("upload, far", "MB/s", True)
IDLE = Metric("CPU of one core, idle", "%", False)

NEAR = (
    Measurement(_download, (DOWNLOAD, Metric("CPU for download", "s/GB", False))),
    Measurement(_upload, (UPLOAD, Metric("CPU for upload", "s/GB", False))),
    Measurement(_round_trip_idle, (ROUND_TRIP, Metric("round trip, p99", "ms", False))),
    Measurement(
        _round_trip_under_load,
        (
            Metric("… during a download, p50", "ms", False),
            LOADED_ROUND_TRIP,
            Metric("… and of that download", "MB/s", True),
        ),
    ),
    Measurement(_print_latency, (PRINT_LATENCY,)),
    Measurement(_connect_time, (CONNECT,)),
    Measurement(_concurrent_downloads(16), (Metric("16 concurrent downloads", "MB/s", True),)),
    Measurement(_concurrent_downloads(128), (Metric("128 concurrent downloads", "MB/s", True),)),
    Measurement(_peak_memory, (MEMORY,)),
)
FAR = (Measurement(_far_download, (FAR_DOWNLOAD,)), Measurement(_far_upload, (FAR_UPLOAD,)))
METRICS = tuple(metric for measurement in (*NEAR, *FAR) for metric in measurement.metrics) + (IDLE,)
