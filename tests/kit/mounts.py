"""What a machine in a mount namespace sees of this system's folders (mount_namespaces(7))."""

import shlex
import stat
from collections.abc import Iterable
from pathlib import Path


def hide_all_but(visible: Iterable[Path], private: Iterable[Path] = ()) -> list[str]:
    """The lines of a shell script that opens the way to the visible folders, for every account.

    Where a parent is closed to others, or is one of the `private` folders, an empty folder is mounted over it, with
    only the visible folders in it.
    """
    private = [*private]
    hidden = {path: ancestor for path in visible if (ancestor := _hidden_ancestor(path, private))}
    ancestors = sorted({*hidden.values(), *private})
    if not ancestors:
        return []
    lines = ["mount -t tmpfs -o mode=755 tmpfs /mnt"]
    for number, path in enumerate(hidden):
        mount_point = f"/mnt/{number}"
        lines += [f"mkdir {mount_point}", shlex.join(["mount", "--rbind", str(path), mount_point])]
    for ancestor in ancestors:
        mode = f"mode={stat.S_IMODE(ancestor.stat().st_mode) if ancestor in private else 0o755:o}"
        lines.append(shlex.join(["mount", "-t", "tmpfs", "-o", mode, "tmpfs", str(ancestor)]))
    for number, path in enumerate(hidden):
        lines.append(shlex.join(["mkdir", "-p", str(path)]))
        lines.append(shlex.join(["mount", "--rbind", f"/mnt/{number}", str(path)]))
    return lines


def _hidden_ancestor(path: Path, private: list[Path]) -> Path | None:
    """The outermost parent that is private or that not everybody can enter."""
    for folder in reversed(path.parents):
        if folder in private or not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None
