"""The host names of ~/.ssh/config that the shell completes."""

from pathlib import Path

import pytest

from notebooks_over_ssh.ssh.config_hosts import host_names


@pytest.fixture
def folder(clean_home: Path) -> Path:
    """The user's ~/.ssh."""
    folder = clean_home / ".ssh"
    folder.mkdir()
    return folder


def test_names(folder: Path) -> None:
    """Host lines give their names in order, once, in any form that ssh_config(5) has; patterns and Match give none."""
    (folder / "config").write_text(
        '# Host no\nHost b a *.example !c d?\n  hOsT=e # no\nHost "f" b\n\tUser host\nMatch host g\nHost \'open\n'
    )
    assert host_names() == ["b", "a", "e", "f"]


def test_include(folder: Path, tmp_path: Path) -> None:
    """Include is followed, relative to ~/.ssh, with wildcards, and from an included file; a loop ends."""
    (folder / "config").write_text(f"Include conf.d/* {tmp_path}/other missing\nHost last\n")
    (folder / "conf.d").mkdir()
    (folder / "conf.d/1").write_text("Host one\n")
    (folder / "conf.d/2").write_text("Include config\nHost two\n")
    (tmp_path / "other").write_text("Host other\n")
    assert host_names() == ["one", "two", "other", "last"]


def test_unreadable(folder: Path) -> None:
    """A file that is missing, binary or not a regular file gives no names."""
    assert host_names() == []
    (folder / "config").write_bytes(b"Host \xff\n")
    assert host_names() == []
    (folder / "config").write_text("Include /dev/zero\nHost a\n")
    assert host_names() == ["a"]
