"""A notice on the user's desktop, where there is one."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Thread

TITLE = "notebooks-over-ssh"
TIMEOUT_S = 10
# The text is an argument of the script, and no part of its source (osascript(1)).
OSASCRIPT = ("on run argv", "display notification (item 1 of argv) with title (item 2 of argv)", "end run")


def show_notice(text: str) -> None:
    """Show the text, which must be this program's own. Returns at once, and does nothing where there is no desktop."""
    command = notice_command(sys.platform, text)
    if command:
        Thread(target=_run, args=(command,), name="desktop notice", daemon=True).start()


def notice_command(platform: str, text: str) -> list[str]:
    """The command that shows the text; empty without a program for it, or a session that could show it."""
    if platform == "darwin":
        program = shutil.which("osascript")
        script = [word for line in OSASCRIPT for word in ("-e", line)]
        return [program, *script, text, TITLE] if program else []
    program = shutil.which("notify-send")
    return [program, f"--app-name={TITLE}", "--", TITLE, text] if program and _has_session_bus() else []


def _has_session_bus() -> bool:
    """Whether there is a D-Bus session, at the address in the variable or else at systemd's socket (pam_systemd(8))."""
    if os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return True
    runtime_folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return bool(runtime_folder) and Path(runtime_folder, "bus").is_socket()


def _run(command: list[str]) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
