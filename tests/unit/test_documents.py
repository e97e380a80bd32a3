"""The documents."""

from pathlib import Path

import pytest

from tests.kit.cli import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
MAX_LINE_LENGTH = 120


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_line_length(document: Path) -> None:
    """A line has at most MAX_LINE_LENGTH characters, except in a table."""
    lines = enumerate(document.read_text().splitlines(), 1)
    assert [
        number for number, line in lines if len(line) > MAX_LINE_LENGTH and not line.startswith("|")
    ] == []
