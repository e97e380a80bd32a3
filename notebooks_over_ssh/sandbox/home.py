"""The home folder that all compute hosts share: a notebook, and environments as Conda leaves them."""

from pathlib import Path

from notebooks_over_ssh.sandbox.conda_environments import (
    ensure_base,
    ensure_environment,
    ensure_plain_environment,
)
from notebooks_over_ssh.sandbox.paths import Place, write_whole

_SOURCES = Path(__file__).with_name("static") / "home"


def ensure_home(place: Place) -> None:
    """Make what is missing or broken in the home folder; what a user has changed stays.

    Raises OSError when it cannot be written, Failed when the packages for the environment are not installed.
    """
    place.home.mkdir(mode=0o700, exist_ok=True)
    for source in sorted(_SOURCES.rglob("*")):
        target = place.home / source.relative_to(_SOURCES)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        elif not target.exists():
            write_whole(target, source.read_bytes())
    base = place.home / "miniconda3"
    ensure_base(base)
    ensure_environment(base / "envs" / "mlp")
    ensure_plain_environment(base / "envs" / "plain")
    _list_environments(place.home / ".conda" / "environments.txt", base)


def _list_environments(listing: Path, base: Path) -> None:
    listing.parent.mkdir(exist_ok=True)
    listed = listing.read_text().splitlines() if listing.exists() else []
    wanted = [str(base), str(base / "envs" / "mlp"), str(base / "envs" / "plain")]
    missing = [prefix for prefix in wanted if prefix not in listed]
    if missing:
        write_whole(listing, "".join(f"{prefix}\n" for prefix in listed + missing).encode())
