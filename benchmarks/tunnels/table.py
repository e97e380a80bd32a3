"""The results as text: the figures, what they are against the baseline, and why some are missing."""

from collections.abc import Callable

from .measures import FIGURES, Figure
from .peers import BASELINE
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
    lines += _rows(results, lambda peer, figure: _figure(results, peer, figure))
    if BASELINE in peers:
        lines += ["", f"against {BASELINE}"]
        lines += _rows(results, lambda peer, figure: _ratio(results, peer, figure))
    failures = [
        f"  {peer}: {reason}\n      {'; '.join(titles)}"
        for (peer, reason), titles in results.failures().items()
    ]
    return "\n".join([*lines, *(["", "failed", *failures] if failures else [])])


def _rows(results: Results, cell: Callable[[str, Figure], str]) -> list[str]:
    rows = [" " * NAME_WIDTH + "".join(f"{peer:>{CELL_WIDTH}}" for peer in results.peers)]
    for figure in FIGURES:
        cells = [cell(peer, figure) for peer in results.peers]
        if any(cells):
            title = f"  {figure.title}, {figure.unit}"
            rows.append(f"{title:{NAME_WIDTH}}" + "".join(f"{text or '-':>{CELL_WIDTH}}" for text in cells))
    return rows


def _figure(results: Results, peer: str, figure: Figure) -> str:
    if times := results.failed[peer, figure]:
        return "failed" if times >= results.rounds else f"failed {times} of {results.rounds}"
    median, spread = results.median(peer, figure), results.spread(peer, figure)
    if median is None:
        return ""
    return shown(median) if spread is None else f"{shown(median)} ±{spread:.0%}"


def _ratio(results: Results, peer: str, figure: Figure) -> str:
    ratio = results.ratio(peer, figure, BASELINE)
    return "" if ratio is None else f"x {shown(ratio)}"
