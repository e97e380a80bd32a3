"""What the host reports of its folders: that a file can be written in each that a start writes to."""

import errno
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.mark.parametrize("full", ["state", "state/runtime", "notebooks", None])
def test_full_folder(
    import_remote: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    full: str | None,
) -> None:
    """A folder of the server's own in which nothing can be written is an error; the notebook folder is one finding."""
    program: Any = import_remote("host_info")
    for name in ("state/runtime", "notebooks"):
        (tmp_path / name).mkdir(parents=True)
    replies: list[dict[str, Any]] = []

    def probe_write(folder: str, size: int) -> None:
        if full and folder == str(tmp_path / full):
            raise OSError(errno.EDQUOT, "Disk quota exceeded", folder)

    monkeypatch.setattr(program, "probe_write", probe_write)
    monkeypatch.setattr(program, "state_folder", lambda: str(tmp_path / "state"))
    monkeypatch.setattr(program, "reply", lambda **fields: replies.append(fields))
    monkeypatch.setattr(program, "reply_error", lambda error: replies.append({"problem": error.filename}))
    program.main({"directory": str(tmp_path / "notebooks")})
    (reply,) = replies
    if full and full.startswith("state"):
        assert reply["problem"] == str(tmp_path / full)
    else:
        expected = "Disk quota exceeded" if full else ""
        assert (reply["problem"], reply["directory_write_problem"]) == ("", expected)
