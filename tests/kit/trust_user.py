"""A user with browsers' NSS databases and a recorded session."""

from pathlib import Path

import pytest

from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import Session
from tests.kit.cli import User, run
from tests.kit.sessions import make_session


class TrustUser(User):
    """A user whose records this process reads and writes too."""

    def add_session(self, certificate_pem: str, host: str = "ashbury") -> Session:
        """Record a session with this certificate, in place of the one on the same host."""
        session = make_session(host, certificate_pem=certificate_pem)
        sessions.save(session)
        return session

    def add_database(self, folder: str, password: str = "") -> Path:
        """Create an NSS database below the home folder."""
        return new_database(self.home / folder, password)


def new_database(folder: Path, password: str = "") -> Path:
    """Create an NSS database, as a browser does at its first start."""
    folder.mkdir(parents=True)
    file = folder / "password"
    file.write_text(password)
    certutil("-N", "-d", f"sql:{folder}", *(["-f", str(file)] if password else ["--empty-password"]))
    file.unlink()
    return folder


def certutil(*arguments: str, stdin: str = "") -> str:
    """Run certutil itself."""
    return run("certutil", *arguments, stdin=stdin).stdout


def entries(database: Path) -> dict[str, str]:
    """The nicknames in a database, with their trust flags."""
    lines = [line.rsplit(maxsplit=1) for line in certutil("-L", "-d", f"sql:{database}").splitlines()]
    return {
        line[0].strip(): line[1]
        for line in lines
        if len(line) == 2 and line[1].count(",") == 2 and "/" not in line[1]
    }


@pytest.fixture
def trust_user(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> TrustUser:
    """A user with an empty home folder."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("STATE", "DATA", "CONFIG"):
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)
    return TrustUser(home, temporary)
