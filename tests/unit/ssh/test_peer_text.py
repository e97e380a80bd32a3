"""Text of a peer is recognizable as the peer's, whatever its characters, its length and the terminal's width."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks_over_ssh.util.peer_text import DEFAULT_COLUMNS, clean, prefix_lines, quote

OWNER = "me@gateway"
FORGED = "me@host password: "
UNSEEN = (
    " \t\n\r\v\f\x00\x1b\x7f\x85\xa0\xad\u034f\u115f\u1160\u17b4\u17b5\u200b\u200d\u202e\u2028\u2066"
    "\u2800\u3164\ufe00\ufe0f\ufeff\uffa0\ue000\ud800\U0001d159"
)
INVISIBLE = st.sampled_from([*UNSEEN])


def columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WFA" else 1 for character in text)


@given(text=st.text() | st.lists(INVISIBLE | st.characters()).map("".join), width=st.integers(40, 200))
def test_rows(text: str, width: int) -> None:
    """Each row begins with its owner, fits the terminal, and contains only visible characters."""
    for row in prefix_lines(OWNER, text, width):
        assert row.startswith(f"{OWNER} | ")
        assert columns(row) < width
        assert "  " not in row
        assert row.isprintable()


@given(text=st.text() | st.lists(INVISIBLE | st.characters()).map("".join))
def test_quote(text: str) -> None:
    """A quoted text is one short line, and does not end its quotation marks itself."""
    quoted = quote(text)
    assert quoted[0] == quoted[-1] == '"'
    assert '"' not in quoted[1:-1]
    assert quoted.isprintable()
    assert columns(clean(text, 200)) <= 200
    assert max(map(columns, quoted.split(" "))) <= 40 + 2


@pytest.mark.parametrize("character", UNSEEN, ids=lambda character: f"U+{ord(character):04X}")
def test_invisible_characters(character: str) -> None:
    """An invisible or control character counts as a space, also in the owner's name."""
    assert clean(f"{character}a{character * 3}b{character}") == "a b"
    assert prefix_lines(f"me{character}", "a", 80) == ["me | a"]


def test_quotation_marks() -> None:
    """A text cannot end its quotation, and a word of any length is wrapped."""
    assert quote('he said "yes"') == "\"he said 'yes'\""
    assert quote("x" * 100) == f'"{"x" * 40} {"x" * 40} {"x" * 20}"'


@pytest.mark.parametrize(
    "padding",
    [
        "\n",
        "\r\n",
        "\v",
        "\x85",
        "\u2028",
        " " * 70,
        "\t" * 9,
        "\u3000" * 40,
        "\u2800" * 70,
        "\u3164" * 40,
        "." * 68,
        "漢" * 34,
        "§" * 34,  # two columns wide in some terminals
    ],
    ids=lambda padding: f"{len(padding)} of U+{ord(padding[-1]):04X}",
)
def test_forged_prompt(padding: str) -> None:
    """No padding, and no line end, moves a prompt for another hop to the beginning of a row."""
    rows = prefix_lines(OWNER, f"Code:{padding}{FORGED}", DEFAULT_COLUMNS)
    assert all(row.startswith(f"{OWNER} | ") for row in rows)
    assert all(columns(row) < DEFAULT_COLUMNS for row in rows)


def test_readable_text() -> None:
    """Lines, accents and all scripts stay as they are."""
    text = "Duo two-factor login for zoë\n\n 1. Push to +XX XXX\n 2. 電話\nPasscode (1-2):"
    assert prefix_lines(OWNER, text, 80) == [
        f"{OWNER} | Duo two-factor login for zoë",
        f"{OWNER} | 1. Push to +XX XXX",
        f"{OWNER} | 2. 電話",
        f"{OWNER} | Passcode (1-2):",
    ]


def test_bounds() -> None:
    """An endless text is cut, and so is its owner's name on a narrow terminal."""
    assert len(prefix_lines(OWNER, "x\n" * 10**6, 80)) == 21
    assert len("".join(prefix_lines(OWNER, "x" * 10**6, 80))) < 3000
    assert all(columns(row) < 40 for row in prefix_lines("me@" + "h" * 200, "word " * 50, 40))
