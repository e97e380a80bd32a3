"""The password of the notebook server: its rules, and its hash. Only the hash leaves this machine."""

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from notebooks_over_ssh.errors import ConfigError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_LENGTH = 8
MAX_LENGTH = 1024
# 20 characters of these are 98 bits or more; those that look alike are left out.
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
# The parameters of jupyter_server.auth.security.passwd.
ARGON2_MEMORY_KIB, ARGON2_TIME, ARGON2_LANES = 10240, 10, 8
GROUPS, GROUP_LENGTH = 4, 5


def generate_password() -> str:
    """A random password, in groups that are easy to type."""
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS))
    return "-".join(groups)


def validate_password(password: str) -> None:
    """Raise ConfigError if the password is too short, too long or cannot be typed into a form."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise ConfigError(
            f"the password must have {MIN_LENGTH} to {MAX_LENGTH} characters, not {len(password)}",
            hint="choose another, or press Enter at the prompt to have one generated",
        )
    if not password.isprintable():
        raise ConfigError(
            "the password has a character that cannot be typed",
            hint="use letters, digits and punctuation",
        )


def hash_password(password: str, *, argon2: bool) -> str:
    """The hash in a format of jupyter_server.auth.security.passwd_check: argon2id, or salted SHA-256 for old releases.

    Jupyter releases without argon2 support no slower hash than the salted one.
    """
    if argon2:
        return "argon2:" + _argon2().hash(password)
    salt = secrets.token_hex(8)
    digest = hashlib.sha256(password.encode() + salt.encode()).hexdigest()
    return f"sha256:{salt}:{digest}"


def matches(password: str, password_hash: str) -> bool:
    """Whether the hash, which a host sent, is that of the password.

    False for other formats and argon2 costs than those of `hash_password`: a host could demand any amount of memory and
    time.
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
