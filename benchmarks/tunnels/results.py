"""What came of the measures: the figures of every round, and the reasons of those that failed."""

import statistics
from collections import Counter
from collections.abc import Sequence

from .metrics import Metric


class Results:
    """The figures that were found, by peer."""

    def __init__(self, peers: Sequence[str], rounds: int) -> None:
        self.peers = tuple(peers)
        self.rounds = rounds
        self.reasons: dict[tuple[str, Metric], str] = {}
        """Why a figure failed, the last time that it did; it is missing then, even where it was found in another round."""
        self.failed: Counter[tuple[str, Metric]] = Counter()
        """In how many rounds it failed."""
        self._found: dict[tuple[str, Metric], list[float]] = {}

    def add(self, peer: str, metrics: Sequence[Metric], values: Sequence[float | None]) -> None:
        """Note what one round found."""
        for metric, value in zip(metrics, values, strict=True):
            if value is not None:
                self._found.setdefault((peer, metric), []).append(value)

    def fail(self, peer: str, metrics: Sequence[Metric], reason: str) -> None:
        """Note why one round found nothing."""
        for metric in metrics:
            self.reasons[peer, metric] = reason
            self.failed[peer, metric] += 1

    def failures(self) -> dict[tuple[str, str], list[str]]:
        """The titles of the figures that are missing, by the peer and the reason that they share."""
        values: dict[tuple[str, str], list[str]] = {}
        for (peer, metric), reason in self.reasons.items():
            values.setdefault((peer, reason), []).append(metric.title)
        return values

    def median(self, peer: str, metric: Metric) -> float | None:
        """The median of the rounds, or None where one failed or none measured it."""
        values = self._found.get((peer, metric))
        return None if not values or (peer, metric) in self.reasons else statistics.median(values)

    def spread(self, peer: str, metric: Metric) -> float | None:
        """Half of what lies between the lowest and the highest, as a part of the median; None with a single round."""
        values = self._found.get((peer, metric), [])
        middle = self.median(peer, metric)
        return (max(values) - min(values)) / 2 / middle if len(values) > 1 and middle else None

    def ratio(self, peer: str, metric: Metric, baseline: str) -> float | None:
        """The median against that of another peer, or None where either is missing."""
        mine, other = self.median(peer, metric), self.median(baseline, metric)
        return mine / other if mine is not None and other else None
