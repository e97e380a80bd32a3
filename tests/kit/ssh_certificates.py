"""CAs that sign SSH keys."""

from dataclasses import dataclass
from pathlib import Path

from tests.kit.cli import run
from tests.kit.sshd import make_key, public_key

IN_DATE = "-5m:+52w"
OUT_OF_DATE = "20200101:20210101"
NOT_YET_IN_DATE = "+1d:+2d"


@dataclass(frozen=True)
class Authority:
    """The key pair of a CA."""

    key: Path

    @classmethod
    def new(cls, folder: Path, name: str = "authority", kind: str = "ed25519") -> "Authority":
        """Create a CA in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        make_key(folder / name, kind=kind)
        return cls(folder / name)

    @property
    def public_key(self) -> str:
        """Type and base64."""
        return public_key(self.key)

    def sign(
        self, key: Path, *names: str, dates: str = IN_DATE, for_host: bool = True, **options: str
    ) -> Path:
        """Sign a certificate for the key and the names: of hosts, or of users if `for_host` is false."""
        certificate = key.with_name(f"{key.name}-cert.pub")
        certificate.unlink(missing_ok=True)
        kind = ["-h"] if for_host else []
        principals = ["-n", ",".join(names)] if names else []
        arguments = [word for name, value in options.items() for word in (f"-{name}", value)]
        command = ["ssh-keygen", "-q", "-s", str(self.key), "-I", key.name, *kind, *principals, "-V", dates]
        run(*command, *arguments, key.with_suffix(".pub"))
        return certificate
