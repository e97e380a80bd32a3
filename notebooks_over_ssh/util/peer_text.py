"""Makes text from a peer safe to print: it cannot control the terminal, or imitate this program's own output.

RFC 4252, section 5.4, and RFC 4256, section 3.2, ask clients to filter control characters. That is not enough: spaces
up to the edge of the terminal, or a line that begins with `hint:`, can deceive the user too.
"""

import os
import re
import unicodedata
from collections.abc import Iterator

MAX_QUOTE_COLUMNS = 200
MAX_LINES = 20
MAX_LINE_COLUMNS = 1000
# The terminal would wrap a longer word, and its end would be at the beginning of a row.
MAX_WORD_COLUMNS = 40
DEFAULT_COLUMNS = 80
MIN_ROW_COLUMNS = 20

# Letters and symbols that are blank or invisible (those of categories L, M and S in Default_Ignorable_Code_Point).
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U0001d159")
_LINE_ENDS = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def clean(text: str, columns: int = MAX_LINE_COLUMNS) -> str:
    """The text on one line of at most `columns`: letters, marks, numbers, punctuation, symbols and single spaces.

    Any other character (white space, control, bidirectional, zero-width, private use, surrogate) becomes a space.
    """
    visible = "".join(character if _is_visible(character) else " " for character in text[: 8 * columns])
    return _truncate(" ".join(visible.split()), columns)


def quote(text: str, columns: int = MAX_QUOTE_COLUMNS) -> str:
    """The text on one line, truncated and in quotation marks, for a message."""
    words = clean(text, columns).replace('"', "'").split(" ")
    return '"' + " ".join(part for word in words for part in _parts(word, MAX_WORD_COLUMNS)) + '"'


def prefix_lines(author: str, text: str, columns: int | None = None) -> list[str]:
    """The text in rows that fit the terminal, each with a prefix that names its author: `me@gateway | Enter the code`.

    `author` may be empty. At most MAX_LINES are shown. `columns` is the width, by default that of the terminal.
    """
    width = columns or terminal_columns()
    prefix = f"{_truncate(clean(author), max(4, width - MIN_ROW_COLUMNS - 4))} | ".lstrip()
    lines = [line for line in map(clean, _LINE_ENDS.split(text[: MAX_LINES * MAX_LINE_COLUMNS])) if line]
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], "…"]
    row_columns = max(MIN_ROW_COLUMNS, width - len(prefix) - 3)  # the caller may indent by two
    return [prefix + row for line in lines for row in _rows(line, row_columns)]


def terminal_columns() -> int:
    """The width of the controlling terminal; 80 if there is none."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return DEFAULT_COLUMNS
    try:
        return os.get_terminal_size(descriptor).columns or DEFAULT_COLUMNS
    except OSError:
        return DEFAULT_COLUMNS
    finally:
        os.close(descriptor)


def _is_visible(character: str) -> bool:
    category = unicodedata.category(character)
    # Variation selectors are invisible marks.
    return category[0] in "LMNPS" and character not in _BLANK and not 0xFE00 <= ord(character) <= 0xFE0F


def _rows(line: str, columns: int) -> Iterator[str]:
    row = ""
    for word in line.split(" "):
        for part in _parts(word, columns):
            if row and _columns(row) + 1 + _columns(part) > columns:
                yield row
                row = part
            else:
                row = f"{row} {part}" if row else part
    if row:
        yield row


def _parts(word: str, columns: int) -> Iterator[str]:
    part, width = "", 0
    for character in word:
        width += _columns(character)
        if width > columns:
            yield part
            part, width = "", _columns(character)
        part += character
    yield part


def _truncate(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    return f"{next(_parts(text, columns - 1))}…"


def _columns(text: str) -> int:
    """The maximum width of the text: East Asian ambiguous characters take two columns in some terminals (UAX #11)."""
    return sum(2 if unicodedata.east_asian_width(character) in "WFA" else 1 for character in text)
