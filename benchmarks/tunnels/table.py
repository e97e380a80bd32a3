"""The results as a text table: medians, ratios to the baseline, and errors."""

from collections.abc import Callable

from .competitors import BASELINE
from .metrics import METRICS, Metric
from .results import Results

NAME_WIDTH = 36
CELL_WIDTH = 15


def format_number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(results: Results, delay_ms: int) -> str:
    """All results. Lines have 36 columns and 15 more for each competitor."""
    competitors = results.competitors
    lines = ["median of the rounds ± half the range"]
    lines += [f"far: a round trip of {delay_ms} ms to the gateway"] if delay_ms else []
    lines += _rows(results, lambda competitor, metric: _metric(results, competitor, metric))
    if BASELINE in competitors:
        lines += ["", f"relative to {BASELINE}"]
        lines += _rows(results, lambda competitor, metric: _ratio(results, competitor, metric))
    failures = [
        f"  {competitor}: {error}\n      {'; '.join(titles)}"
        for (competitor, error), titles in results.failures().items()
    ]
    return "\n".join([*lines, *(["", "failed", *failures] if failures else [])])


def _rows(results: Results, cell: Callable[[str, Metric], str]) -> list[str]:
    rows = [" " * NAME_WIDTH + "".join(f"{competitor:>{CELL_WIDTH}}" for competitor in results.competitors)]
    for metric in METRICS:
        cells = [cell(competitor, metric) for competitor in results.competitors]
        if any(cells):
            title = f"  {metric.title}, {metric.unit}"
            rows.append(f"{title:{NAME_WIDTH}}" + "".join(f"{text or '-':>{CELL_WIDTH}}" for text in cells))
    return rows


def _metric(results: Results, competitor: str, metric: Metric) -> str:
    if times := results.failed[competitor, metric]:
        return "failed" if times >= results.rounds else f"failed {times} of {results.rounds}"
    median, spread = results.median(competitor, metric), results.spread(competitor, metric)
    if median is None:
        return ""
    return format_number(median) if spread is None else f"{format_number(median)} ±{spread:.0%}"


def _ratio(results: Results, competitor: str, metric: Metric) -> str:
    ratio = results.ratio(competitor, metric, BASELINE)
    return "" if ratio is None else f"x {format_number(ratio)}"
