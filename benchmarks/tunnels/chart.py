"""The results as a picture (SVG) for the README, in colours that read well on white and on black alike."""

from xml.sax.saxutils import escape

from .competitors import PEERS, SETTINGS, TITLES
from .metrics import (
    DOWNLOAD,
    FAR_DOWNLOAD,
    LOADED_ROUND_TRIP,
    MEMORY,
    OPENING,
    PIECES_OF_A_CELL,
    PRINTING,
    ROUND_TRIP,
    UPLOAD,
    Metric,
)
from .results import Results
from .table import shown

OURS = "ours"
TEXT = "#757d87"  # 4.2 to 1 on white, 4.5 to 1 on GitHub's black
FONT = "-apple-system, Segoe UI, Helvetica, Arial, sans-serif"
STRONG, WEAK = "#2f81f7", "#8b949e"
WIDTH, MARGIN, GAP = 880, 8, 36
PANEL_WIDTH = (WIDTH - 2 * MARGIN - GAP) // 2
NAME_WIDTH, NUMBER_WIDTH = 168, 56
BAR, STEP, TITLE_HEIGHT, PANEL_GAP = 12, 20, 26, 26
NOTE_STEP = 16


def chart(results: Results, delay_ms: int) -> str:
    """Eight panels of bars, one bar for each peer, and below them how each peer ran."""
    panels = [
        ("download", DOWNLOAD),
        ("upload", UPLOAD),
        (f"download at {delay_ms} ms round trip", FAR_DOWNLOAD),
        (f"{PIECES_OF_A_CELL} lines printed by a cell, p50", PRINTING),
        ("round trip of a keystroke, idle, p50", ROUND_TRIP),
        ("… while a download fills the tunnel, p99", LOADED_ROUND_TRIP),
        ("opening a connection, p50", OPENING),
        ("memory, at its peak", MEMORY),
    ]
    peers = [name for name in PEERS if name in results.peers]
    height_of_panel = TITLE_HEIGHT + STEP * len(peers) + PANEL_GAP
    drawn = [
        _panel(
            results,
            peers,
            title,
            metric,
            MARGIN + number % 2 * (PANEL_WIDTH + GAP),
            number // 2 * height_of_panel,
        )
        for number, (title, metric) in enumerate(panels)
    ]
    how_often = "one round" if results.rounds == 1 else f"the median of {results.rounds} rounds"
    notes = [
        f"Through two sshd of OpenSSH on one machine, {how_often} (benchmarks/tunnel.py). Settings:",
        *(f"{TITLES[name]}: {SETTINGS[name]}" for name in peers),
    ]
    first_note = height_of_panel * ((len(panels) + 1) // 2) + 12
    height = first_note + NOTE_STEP * (len(notes) - 1) + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>fab tunnel compared with other forwarders through the same gateway</title>",
            f'<g font-family="{FONT}" font-size="12" fill="{TEXT}">',
            *drawn,
            *(
                f'<text x="{MARGIN}" y="{first_note + NOTE_STEP * number}" font-size="11">{escape(note)}</text>'
                for number, note in enumerate(notes)
            ),
            "</g>",
            "</svg>",
            "",
        ]
    )


def _panel(results: Results, peers: list[str], title: str, metric: Metric, left: int, top: int) -> str:
    values = {name: results.median(name, metric) for name in peers}
    most = max((value for value in values.values() if value is not None), default=0) or 1
    room = PANEL_WIDTH - NAME_WIDTH - NUMBER_WIDTH
    desired = "more is better" if metric.more_is_better else "less is better"
    lines = [
        f'<g transform="translate({left} {top})">',
        f'<text y="15" font-size="13" font-weight="600">{escape(title)}</text>',
        f'<text x="{PANEL_WIDTH}" y="15" font-size="11" text-anchor="end">{metric.unit}, {desired}</text>',
    ]
    for number, (name, value) in enumerate(values.items()):
        top_of_bar = TITLE_HEIGHT + STEP * number
        base = top_of_bar + BAR - 2
        weight = ' font-weight="600"' if name == OURS else ""
        colour = STRONG if name == OURS else WEAK
        length = 0.0 if value is None else max(1.0, room * value / most)
        number_shown = (
            "failed" if (name, metric) in results.reasons else "" if value is None else shown(value)
        )
        lines += [
            f'<text x="{NAME_WIDTH - 8}" y="{base}" text-anchor="end"{weight}>{escape(TITLES[name])}</text>',
            f'<rect x="{NAME_WIDTH}" y="{top_of_bar}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
            f'<text x="{NAME_WIDTH + length + 6:.1f}" y="{base}"{weight}>{number_shown}</text>',
        ]
    return "\n".join([*lines, "</g>"])
