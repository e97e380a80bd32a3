"""Which addresses are opened in the browser."""

from pathlib import Path

from tests.kit.wait import wait_until


class Recorder:
    """A browser program that records its arguments, as Python's webbrowser starts it where there is a display."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "opened"
        program = folder / "a-browser"
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$1" >> "{self._file}"\n')
        program.chmod(0o755)
        self.variables = {"DISPLAY": ":99", "BROWSER": f"{program} %s"}

    def take_urls(self) -> list[str]:
        """The URLs since the last call."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        assert set(lines[::2]) <= {"1"}
        self._file.unlink(missing_ok=True)
        return lines[1::2]

    def wait_for_url(self) -> str:
        """Wait until a page is opened; returns its URL."""
        wait_until(self._file.exists, "a page is opened")
        (url,) = self.take_urls()
        return url
