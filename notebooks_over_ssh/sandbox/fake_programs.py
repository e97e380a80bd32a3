"""The programs that only one compute host has: those that know its name."""

from pathlib import Path

from notebooks_over_ssh.util.atomic_write import atomic_write

_SOURCES = Path(__file__).with_name("static") / "host_bin"


def ensure_host_programs(folder: Path) -> None:
    """Put `hostname` and `uname` of a host into its folder; they find the host's name in the folder's path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for source in _SOURCES.iterdir():
        install_program(source, folder / source.name)


def install_program(source: Path, target: Path) -> None:
    """Copy a program and make it executable, whatever is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, source.read_bytes(), mode=0o755)
