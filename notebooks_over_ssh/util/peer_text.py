"""Text that a peer chose, made fit for the user's terminal: it can neither steer it nor pass for a line of ours.

RFC 4252, section 5.4, and RFC 4256, section 3.2, ask a client to filter control characters. That is not enough: spaces up
to the edge of the terminal, or a line that begins with `hint:`, deceive as well.
"""

import os
import re
import unicodedata
from collections.abc import Iterator

MAX_QUOTE_COLUMNS = 200
MAX_LINES = 20
MAX_LINE_COLUMNS = 1000
# A longer word would be broken at the edge of the terminal, and what follows would begin a row of its own.
MAX_WORD_COLUMNS = 40
DEFAULT_COLUMNS = 80
MIN_ROW_COLUMNS = 20

# Letters and symbols that look like a space, or like nothing (Unicode, Default_Ignorable_Code_Point among L, M and S).
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U0001d159")
_LINE_ENDS = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def clean(text: str, columns: int = MAX_LINE_COLUMNS) -> str:
    """The text in one line of at most so many columns: of letters, marks, numbers, punctuation and symbols, single spaces between.

    Everything else (white space, control, bidirectional and zero-width characters, private use, surrogates) counts as a space.
    """
    visible = "".join(character if _is_visible(character) else " " for character in text[: 8 * columns])
    return _truncate(" ".join(visible.split()), columns)


def quote(text: str, columns: int = MAX_QUOTE_COLUMNS) -> str:
    """The text in one line, cut and in quotation marks, for use within a sentence of ours."""
    words = clean(text, columns).replace('"', "'").split(" ")
    return '"' + " ".join(part for word in words for part in _parts(word, MAX_WORD_COLUMNS)) + '"'


def prefix_lines(owner: str, text: str, columns: int | None = None) -> list[str]:
    """The text as rows that fit the terminal, each of which begins with its owner: `me@gateway | Enter the code`.

    `owner` may be empty. A text is cut after 20 lines. `columns` is the width of the terminal, which is looked up where it is not given.
    """
    width = columns or terminal_columns()
    begin = f"{_truncate(clean(owner), max(4, width - MIN_ROW_COLUMNS - 4))} | ".lstrip()
    lines = [line for line in map(clean, _LINE_ENDS.split(text[: MAX_LINES * MAX_LINE_COLUMNS])) if line]
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], "…"]
    row_columns = max(MIN_ROW_COLUMNS, width - len(begin) - 3)  # the caller may indent it by two
    return [begin + row for line in lines for row in _rows(line, row_columns)]


def terminal_columns() -> int:
    """The width of the terminal that the process stands at, 80 where there is none."""
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
    # Variation selectors are marks that show nothing.
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
    """How wide the text is at most: East Asian ambiguous characters are two columns wide in some terminals (UAX #11)."""
    return sum(2 if unicodedata.east_asian_width(character) in "WFA" else 1 for character in text)
