"""Every claim of docs/security.md names an existing test."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "security.md"


def test_each_row_names_its_tests() -> None:
    """The last cell of each row of the table names at least one file below tests/."""
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")][2:]
    assert rows
    unproven = [row for row in rows if not re.search(r"`[\w/]+\.py`", row.strip("|").rpartition("|")[2])]
    assert not unproven, "\n".join(unproven)


def test_named_tests_exist() -> None:
    """Each named file exists."""
    names = re.findall(r"`([\w/]+\.py)`", DOCUMENT.read_text())
    exceptions = ("jupyter_server_config.py",)
    missing = [name for name in names if name not in exceptions and not (TESTS / name).is_file()]
    assert not missing, missing
