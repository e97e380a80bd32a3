"""What came of the measures: the figures of every round, and the reasons of those that failed."""

import statistics
from collections import Counter
from collections.abc import Sequence

from .measures import Figure


class Results:
    """The figures that were found, by peer."""

    def __init__(self, peers: Sequence[str], rounds: int) -> None:
        self.peers = tuple(peers)
        self.rounds = rounds
        self.reasons: dict[tuple[str, Figure], str] = {}
        """Why a figure failed, the last time that it did; it is missing then, even where it was found in another round."""
        self.failed: Counter[tuple[str, Figure]] = Counter()
        """In how many rounds it failed."""
        self._found: dict[tuple[str, Figure], list[float]] = {}

    def add(self, peer: str, figures: Sequence[Figure], values: Sequence[float | None]) -> None:
        """Note what one round found."""
        for figure, value in zip(figures, values, strict=True):
            if value is not None:
                self._found.setdefault((peer, figure), []).append(value)

    def fail(self, peer: str, figures: Sequence[Figure], reason: str) -> None:
        """Note why one round found nothing."""
        for figure in figures:
            self.reasons[peer, figure] = reason
            self.failed[peer, figure] += 1

    def failures(self) -> dict[tuple[str, str], list[str]]:
        """The titles of the figures that are missing, by the peer and the reason that they share."""
        found: dict[tuple[str, str], list[str]] = {}
        for (peer, figure), reason in self.reasons.items():
            found.setdefault((peer, reason), []).append(figure.title)
        return found

    def median(self, peer: str, figure: Figure) -> float | None:
        """The median of the rounds, or None where one failed or none measured it."""
        found = self._found.get((peer, figure))
        return None if not found or (peer, figure) in self.reasons else statistics.median(found)

    def spread(self, peer: str, figure: Figure) -> float | None:
        """Half of what lies between the lowest and the highest, as a part of the median; None with a single round."""
        found = self._found.get((peer, figure), [])
        middle = self.median(peer, figure)
        return (max(found) - min(found)) / 2 / middle if len(found) > 1 and middle else None

    def ratio(self, peer: str, figure: Figure, baseline: str) -> float | None:
        """The median against that of another peer, or None where either is missing."""
        mine, other = self.median(peer, figure), self.median(baseline, figure)
        return mine / other if mine is not None and other else None
