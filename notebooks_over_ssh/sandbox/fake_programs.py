"""Each compute host's own `hostname` and `uname`, which print the host's name."""

from pathlib import Path

from notebooks_over_ssh.util.atomic_write import atomic_write

_SOURCES = Path(__file__).with_name("static") / "host_bin"


def ensure_host_programs(folder: Path) -> None:
    """Install `hostname` and `uname` into a host's folder; they read the host's name from the folder's path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for source in _SOURCES.iterdir():
        install_program(source, folder / source.name)


def install_program(source: Path, target: Path) -> None:
    """Copy a program, make it executable, and replace an existing target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, source.read_bytes(), mode=0o755)
