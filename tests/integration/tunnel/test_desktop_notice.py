"""The notice on the desktop before the time limit of a job."""

import json
import sys
import time
from pathlib import Path

import psutil
import pytest

from notebooks_over_ssh.tunnel import desktop
from tests.kit.leaks import is_alive
from tests.kit.wait import TIMEOUT_S, wait_until

PROGRAM = """\
#!{python}
import json, os, sys, time
open({output!r} + ".new", "w").write(json.dumps([os.getpid(), *sys.argv[1:]]))
os.rename({output!r} + ".new", {output!r})
time.sleep({seconds})
"""
TEXT = '-u critical "$(id)"\\'


@pytest.fixture
def notify_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the arguments of a notify-send that hangs."""
    output = tmp_path / "arguments"
    program = tmp_path / "bin" / "notify-send"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, output=str(output), seconds=10 * TIMEOUT_S))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    return output


def test_notice(notify_send: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is one argument; the tunnel does not wait for the program, which is killed if it hangs."""
    monkeypatch.setattr(desktop, "TIMEOUT_S", 2)
    started_at = time.monotonic()
    desktop.show_notice(TEXT)
    assert time.monotonic() - started_at < TIMEOUT_S
    wait_until(notify_send.exists, "the notice is shown")
    pid, *arguments = json.loads(notify_send.read_text())
    assert arguments[-3:] == ["--", desktop.TITLE, TEXT]
    process = psutil.Process(pid)
    wait_until(lambda: not is_alive(process), "the program is killed")


def test_no_desktop(notify_send: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a session bus, or without the program, nothing is started."""
    assert desktop.notice_command("linux", TEXT)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert desktop.notice_command("linux", TEXT) == []
    desktop.show_notice(TEXT)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert desktop.notice_command("linux", TEXT) == desktop.notice_command("darwin", TEXT) == []
    assert not notify_send.exists()


def test_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS the text is an argument of the script, not a part of it."""
    program = tmp_path / "osascript"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    command = desktop.notice_command("darwin", TEXT)
    assert command[0] == str(program)
    assert command[-2:] == [TEXT, desktop.TITLE]
    assert TEXT not in command[:-2]
