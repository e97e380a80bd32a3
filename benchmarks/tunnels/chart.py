"""The results as an SVG chart for the README, in colours with enough contrast on white and on black."""

from xml.sax.saxutils import escape

from .competitors import COMPETITORS, SETTINGS, TITLES
from .metrics import (
    CONNECT,
    DOWNLOAD,
    FAR_DOWNLOAD,
    LINES_PER_CELL,
    LOADED_ROUND_TRIP,
    MEMORY,
    PRINT_LATENCY,
    ROUND_TRIP,
    UPLOAD,
    Metric,
)
from .results import Results
from .table import format_number

OURS = "ours"
TEXT = "#757d87"  # contrast 4.2 on white, 4.5 on GitHub's dark background
FONT = "-apple-system, Segoe UI, Helvetica, Arial, sans-serif"
STRONG, WEAK = "#2f81f7", "#8b949e"
WIDTH, MARGIN, GAP = 880, 8, 36
PANEL_WIDTH = (WIDTH - 2 * MARGIN - GAP) // 2
NAME_WIDTH, NUMBER_WIDTH = 168, 56
BAR, STEP, TITLE_HEIGHT, PANEL_GAP = 12, 20, 26, 26
NOTE_STEP = 16


def chart(results: Results, delay_ms: int) -> str:
    """Eight bar charts with a bar for each competitor, and below them the settings of each."""
    panels = [
        ("download", DOWNLOAD),
        ("upload", UPLOAD),
        (f"download at {delay_ms} ms round trip", FAR_DOWNLOAD),
        (f"{LINES_PER_CELL} lines printed by a cell, p50", PRINT_LATENCY),
        ("round trip, idle, p50", ROUND_TRIP),
        ("round trip during a download, p99", LOADED_ROUND_TRIP),
        ("connection set-up, p50", CONNECT),
        ("peak memory", MEMORY),
    ]
    competitors = [name for name in COMPETITORS if name in results.competitors]
    panel_height = TITLE_HEIGHT + STEP * len(competitors) + PANEL_GAP
    drawings = [
        _panel(
            results,
            competitors,
            title,
            metric,
            MARGIN + number % 2 * (PANEL_WIDTH + GAP),
            number // 2 * panel_height,
        )
        for number, (title, metric) in enumerate(panels)
    ]
    rounds = "one round" if results.rounds == 1 else f"the median of {results.rounds} rounds"
    notes = [
        f"Through two sshd of OpenSSH on one machine, {rounds} (benchmarks/tunnel.py). Settings:",
        *(f"{TITLES[name]}: {SETTINGS[name]}" for name in competitors),
    ]
    first_note = panel_height * ((len(panels) + 1) // 2) + 12
    height = first_note + NOTE_STEP * (len(notes) - 1) + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>fab tunnel compared with other forwarders through the same gateway</title>",
            f'<g font-family="{FONT}" font-size="12" fill="{TEXT}">',
            *drawings,
            *(
                f'<text x="{MARGIN}" y="{first_note + NOTE_STEP * number}" font-size="11">{escape(note)}</text>'
                for number, note in enumerate(notes)
            ),
            "</g>",
            "</svg>",
            "",
        ]
    )


def _panel(results: Results, competitors: list[str], title: str, metric: Metric, left: int, top: int) -> str:
    values = {name: results.median(name, metric) for name in competitors}
    maximum = max((value for value in values.values() if value is not None), default=0) or 1
    max_length = PANEL_WIDTH - NAME_WIDTH - NUMBER_WIDTH
    direction = "more is better" if metric.more_is_better else "less is better"
    lines = [
        f'<g transform="translate({left} {top})">',
        f'<text y="15" font-size="13" font-weight="600">{escape(title)}</text>',
        f'<text x="{PANEL_WIDTH}" y="15" font-size="11" text-anchor="end">{metric.unit}, {direction}</text>',
    ]
    for number, (name, value) in enumerate(values.items()):
        bar_top = TITLE_HEIGHT + STEP * number
        base = bar_top + BAR - 2
        weight = ' font-weight="600"' if name == OURS else ""
        colour = STRONG if name == OURS else WEAK
        length = 0.0 if value is None else max(1.0, max_length * value / maximum)
        label = (
            "failed" if (name, metric) in results.errors else "" if value is None else format_number(value)
        )
        lines += [
            f'<text x="{NAME_WIDTH - 8}" y="{base}" text-anchor="end"{weight}>{escape(TITLES[name])}</text>',
            f'<rect x="{NAME_WIDTH}" y="{bar_top}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
            f'<text x="{NAME_WIDTH + length + 6:.1f}" y="{base}"{weight}>{label}</text>',
        ]
    return "\n".join([*lines, "</g>"])
