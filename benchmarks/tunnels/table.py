"""The results as text: the figures, what they are against the baseline, and why some are missing."""

from collections.abc import Callable

from .competitors import BASELINE
from .metrics import METRICS, Metric
from .results import Results

NAME_WIDTH = 36
CELL_WIDTH = 15


def shown(value: float) -> str:
    """A number with three digits that say something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(results: Results, delay_ms: int) -> str:
    """Everything, where `far` is that round trip, in lines of at most 36 + 15 times the number of peers."""
    peers = results.peers
    lines = ["the median of the rounds, and half of what lies between the lowest and the highest"]
    lines += [f"far: {delay_ms} ms of round trip before the gateway"] if delay_ms else []
    lines += _rows(results, lambda peer, metric: _metric(results, peer, metric))
    if BASELINE in peers:
        lines += ["", f"against {BASELINE}"]
        lines += _rows(results, lambda peer, metric: _ratio(results, peer, metric))
    failures = [
        f"  {peer}: {reason}\n      {'; '.join(titles)}"
        for (peer, reason), titles in results.failures().items()
    ]
    return "\n".join([*lines, *(["", "failed", *failures] if failures else [])])


def _rows(results: Results, cell: Callable[[str, Metric], str]) -> list[str]:
    rows = [" " * NAME_WIDTH + "".join(f"{peer:>{CELL_WIDTH}}" for peer in results.peers)]
    for metric in METRICS:
        cells = [cell(peer, metric) for peer in results.peers]
        if any(cells):
            title = f"  {metric.title}, {metric.unit}"
            rows.append(f"{title:{NAME_WIDTH}}" + "".join(f"{text or '-':>{CELL_WIDTH}}" for text in cells))
    return rows


def _metric(results: Results, peer: str, metric: Metric) -> str:
    if times := results.failed[peer, metric]:
        return "failed" if times >= results.rounds else f"failed {times} of {results.rounds}"
    median, spread = results.median(peer, metric), results.spread(peer, metric)
    if median is None:
        return ""
    return shown(median) if spread is None else f"{shown(median)} ±{spread:.0%}"


def _ratio(results: Results, peer: str, metric: Metric) -> str:
    ratio = results.ratio(peer, metric, BASELINE)
    return "" if ratio is None else f"x {shown(ratio)}"
