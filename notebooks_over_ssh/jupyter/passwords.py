"""The password of the notebook server: what a good one is, and the hash that alone leaves this machine."""

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from notebooks_over_ssh.errors import ConfigError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_LENGTH = 8
MAX_LENGTH = 1024
# 20 letters and digits that are hard to mistake for one another: 98 bits.
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
# Those of jupyter_server.auth.security.passwd.
ARGON2_MEMORY_KIB, ARGON2_TIME, ARGON2_LANES = 10240, 10, 8
GROUPS, GROUP_LENGTH = 4, 5


def generate_password() -> str:
    """A password that nobody guesses, in groups that are easy to type."""
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS))
    return "-".join(groups)


def validate_password(password: str) -> None:
    """Raise ConfigError where the password is too short to protect anything, or cannot be typed into a form."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise ConfigError(
            f"the password must have {MIN_LENGTH} to {MAX_LENGTH} characters, not {len(password)}",
            hint="choose a longer one, or leave it empty at the prompt to have one made up",
        )
    if not password.isprintable():
        raise ConfigError(
            "the password has a character that cannot be typed", hint="use letters, digits and signs"
        )


def hash_password(password: str, *, argon2: bool) -> str:
    """The hash in the form that Jupyter checks: argon2id, or salted SHA-256 where the server knows no argon2.

    The forms are those of jupyter_server.auth.security.passwd_check. Jupyter releases before argon2 know no slower
    hash than the salted one.
    """
    if argon2:
        return "argon2:" + _argon2().hash(password)
    salt = secrets.token_hex(8)
    digest = hashlib.sha256(password.encode() + salt.encode()).hexdigest()
    return f"sha256:{salt}:{digest}"


def matches(password: str, password_hash: str) -> bool:
    """Whether the hash, which a host sent, is of this password.

    False for a form that `hash_password` does not make, and for another cost than ours: a host could ask for any amount of
    memory and time.
    """
    kind, _, encoded = password_hash.partition(":")
    if kind == "argon2":
        from argon2.exceptions import VerificationError

        try:
            return not _argon2().check_needs_rehash(encoded) and _argon2().verify(encoded, password)
        except (ValueError, VerificationError):
            return False
    salt, _, digest = encoded.partition(":")
    salted = hashlib.sha256(password.encode() + salt.encode(errors="surrogatepass")).hexdigest()
    return kind == "sha256" and hmac.compare_digest(salted.encode(), digest.encode(errors="surrogatepass"))


def _argon2() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher(memory_cost=ARGON2_MEMORY_KIB, time_cost=ARGON2_TIME, parallelism=ARGON2_LANES)
