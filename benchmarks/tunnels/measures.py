"""What is measured of a forwarder, and how much of it."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import transfers
from .peers import Forwarder
from .transfers import Amount


class Figure(NamedTuple):
    """One number of a measure, as the table shows it."""

    title: str
    unit: str
    more_is_better: bool


class Scale(NamedTuple):
    """How much is measured. The amounts are such that the slowest takes seconds and the quickest more than one."""

    rounds: int
    near: Amount
    far: Amount
    many: Amount
    keystrokes: int
    openings: int
    settle_s: float
    limit_s: float
    idle_s: float


FULL = Scale(
    rounds=3,
    near=Amount(400, 6.0),
    far=Amount(600, 15.0),
    many=Amount(400, 15.0),
    keystrokes=500,
    openings=100,
    settle_s=1.0,
    limit_s=5.0,
    idle_s=60.0,
)
QUICK = Scale(
    rounds=1,
    near=Amount(50, 1.0),
    far=Amount(25, 2.0),
    many=Amount(50, 1.5),
    keystrokes=100,
    openings=10,
    settle_s=0.3,
    limit_s=0.7,
    idle_s=3.0,
)

PIECES_OF_A_CELL = 4
Values = Sequence[float | None]


class Measure(NamedTuple):
    """What is done, and the figures that come of it, in that order; None where there is nothing to be said."""

    run: Callable[[Forwarder, Scale], Values]
    figures: tuple[Figure, ...]


def _percentile(found: list[float], percent: int) -> float:
    return statistics.quantiles(found, n=100, method="inclusive")[percent - 1] if len(found) > 1 else found[0]


def _with_cost(
    forwarder: Forwarder, move: Callable[[int, Amount], transfers.Moved], amount: Amount
) -> tuple[float, float | None]:
    before_s = forwarder.cpu_s()
    moved = move(forwarder.port, amount)
    after_s = forwarder.cpu_s()
    if before_s is None or after_s is None:
        return moved.megabytes_per_s, None
    return moved.megabytes_per_s, (after_s - before_s) / (moved.size / 1e9)


def _download(forwarder: Forwarder, scale: Scale) -> Values:
    return _with_cost(forwarder, transfers.download, scale.near)


def _upload(forwarder: Forwarder, scale: Scale) -> Values:
    return _with_cost(forwarder, transfers.upload, scale.near)


def _idle_round_trip(forwarder: Forwarder, scale: Scale) -> Values:
    found = transfers.keystrokes(forwarder.port, scale.keystrokes, scale.limit_s)
    return [_percentile(found, percent) * 1000 for percent in (50, 99)]


def _round_trip_under_load(forwarder: Forwarder, scale: Scale) -> Values:
    with transfers.load(forwarder.port, scale.settle_s) as beside:
        began = time.monotonic(), beside.size
        found = transfers.keystrokes(forwarder.port, scale.keystrokes, scale.limit_s)
        meanwhile = (beside.size - began[1]) / 1e6 / (time.monotonic() - began[0])
    return [*(_percentile(found, percent) * 1000 for percent in (50, 99)), meanwhile]


def _printing(forwarder: Forwarder, scale: Scale) -> Values:
    found = transfers.prints(forwarder.port, scale.openings, scale.limit_s, PIECES_OF_A_CELL)
    return [_percentile(found, 50) * 1000]


def _opening(forwarder: Forwarder, scale: Scale) -> Values:
    return [statistics.median(transfers.openings(forwarder.port, scale.openings, scale.limit_s)) * 1000]


def _many(connections: int) -> Callable[[Forwarder, Scale], Values]:
    def run(forwarder: Forwarder, scale: Scale) -> Values:
        return [transfers.download_on_many(forwarder.port, connections, scale.many).megabytes_per_s]

    return run


def _memory(forwarder: Forwarder, scale: Scale) -> Values:
    return [forwarder.peak_mb()]


def _far_download(forwarder: Forwarder, scale: Scale) -> Values:
    return [transfers.download(forwarder.port, scale.far).megabytes_per_s]


def _far_upload(forwarder: Forwarder, scale: Scale) -> Values:
    return [transfers.upload(forwarder.port, scale.far).megabytes_per_s]


DOWNLOAD = Figure("download", "MB/s", True)
UPLOAD = Figure("upload", "MB/s", True)
ROUND_TRIP = Figure("round trip, p50", "ms", False)
LOADED_ROUND_TRIP = Figure("… during a download, p99", "ms", False)
PRINTING = Figure(f"{PIECES_OF_A_CELL} lines, 1 ms apart, p50", "ms", False)
OPENING = Figure("opening a connection, p50", "ms", False)
MEMORY = Figure("memory, at its peak", "MB", False)
FAR_DOWNLOAD = Figure("download, far", "MB/s", True)
FAR_UPLOAD = Figure("upload, far", "MB/s", True)
IDLE = Figure("CPU of one core while idle", "%", False)

NEAR = (
    Measure(_download, (DOWNLOAD, Figure("CPU to download", "s/GB", False))),
    Measure(_upload, (UPLOAD, Figure("CPU to upload", "s/GB", False))),
    Measure(_idle_round_trip, (ROUND_TRIP, Figure("round trip, p99", "ms", False))),
    Measure(
        _round_trip_under_load,
        (
            Figure("… during a download, p50", "ms", False),
            LOADED_ROUND_TRIP,
            Figure("… and that download", "MB/s", True),
        ),
    ),
    Measure(_printing, (PRINTING,)),
    Measure(_opening, (OPENING,)),
    Measure(_many(16), (Figure("download on 16 at once", "MB/s", True),)),
    Measure(_many(128), (Figure("download on 128 at once", "MB/s", True),)),
    Measure(_memory, (MEMORY,)),
)
FAR = (Measure(_far_download, (FAR_DOWNLOAD,)), Measure(_far_upload, (FAR_UPLOAD,)))
FIGURES = tuple(figure for measure in (*NEAR, *FAR) for figure in measure.figures) + (IDLE,)
