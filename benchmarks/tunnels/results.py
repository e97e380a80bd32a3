"""The results: values of each round, and errors of failed measurements."""

import statistics
from collections import Counter
from collections.abc import Sequence

from .metrics import Metric


class Results:
    """Values by competitor and metric."""

    def __init__(self, competitors: Sequence[str], rounds: int) -> None:
        self.competitors = tuple(competitors)
        self.rounds = rounds
        self.errors: dict[tuple[str, Metric], str] = {}
        """The last error of a metric. It then has no result, even if another round measured it."""
        self.failed: Counter[tuple[str, Metric]] = Counter()
        """The number of rounds in which a metric failed."""
        self._values: dict[tuple[str, Metric], list[float]] = {}

    def add(self, competitor: str, metrics: Sequence[Metric], values: Sequence[float | None]) -> None:
        """Record the values of a round."""
        for metric, value in zip(metrics, values, strict=True):
            if value is not None:
                self._values.setdefault((competitor, metric), []).append(value)

    def fail(self, competitor: str, metrics: Sequence[Metric], error: str) -> None:
        """Record the error of a round."""
        for metric in metrics:
            self.errors[competitor, metric] = error
            self.failed[competitor, metric] += 1

    def failures(self) -> dict[tuple[str, str], list[str]]:
        """The titles of metrics that failed, by competitor and error."""
        values: dict[tuple[str, str], list[str]] = {}
        for (competitor, metric), error in self.errors.items():
            values.setdefault((competitor, error), []).append(metric.title)
        return values

    def median(self, competitor: str, metric: Metric) -> float | None:
        """The median of the rounds; None when a round failed or none measured it."""
        values = self._values.get((competitor, metric))
        return None if not values or (competitor, metric) in self.errors else statistics.median(values)

    def spread(self, competitor: str, metric: Metric) -> float | None:
        """Half the range, relative to the median; None for a single round."""
        values = self._values.get((competitor, metric), [])
        middle = self.median(competitor, metric)
        return (max(values) - min(values)) / 2 / middle if len(values) > 1 and middle else None

    def ratio(self, competitor: str, metric: Metric, baseline: str) -> float | None:
        """The median divided by the baseline's; None where either is missing."""
        value, base = self.median(competitor, metric), self.median(baseline, metric)
        return value / base if value is not None and base else None
