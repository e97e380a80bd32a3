"""Password hashes are those that Jupyter checks, and generated passwords are strong."""

import pytest
from jupyter_server.auth.security import passwd, passwd_check

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.jupyter import passwords as credentials


@pytest.mark.parametrize("argon2", [True, False])
@pytest.mark.parametrize(
    "password", ["correct horse", "pässwörd mit ß", "日本語のパスワード", "a'b\"c$d\\e f"]
)
def test_jupyter_accepts_the_hash(password: str, argon2: bool) -> None:
    """Jupyter accepts the password for its hash and no other, for each type of hash and any characters."""
    password_hash = credentials.hash_password(password, argon2=argon2)
    assert password_hash.startswith("argon2:$argon2id$" if argon2 else "sha256:")
    assert passwd_check(password_hash, password)  # type: ignore[no-untyped-call] # Jupyter has no types here
    assert not passwd_check(password_hash, password + "x")  # type: ignore[no-untyped-call]


def test_hashes_are_salted() -> None:
    """One password has a different hash each time."""
    for argon2 in (True, False):
        assert credentials.hash_password("correct horse", argon2=argon2) != credentials.hash_password(
            "correct horse", argon2=argon2
        )


@pytest.mark.parametrize("argon2", [True, False])
def test_password_matches_its_hash(argon2: bool) -> None:
    """A password matches its own hash, and no other password does."""
    password_hash = credentials.hash_password("pässwörd mit ß", argon2=argon2)
    assert credentials.matches("pässwörd mit ß", password_hash)
    assert not credentials.matches("pässwörd mit s", password_hash)


def test_password_matches_jupyters_hash() -> None:
    """The hash that `jupyter server password` writes matches too."""
    assert credentials.matches("correct horse", passwd("correct horse"))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "password_hash",
    [
        "",
        "argon2:",
        "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdA$aGFzaA",
        "argon2:$argon2id$v=19$m=10240,t=10,p=8$\udcffé2HS6FJQ3xUEPzuCWoTWw$aGFzaA",
        "sha256:\udcff:\udcfe",
        "sha256:",
        "sha1:salt:1b4f",
        "argon2:$argon2id$v=19$m=4294967295,t=4294967295,p=8$PKAHl7C7Cd7GIY194s5HCQ$v/gcGWgEsEJe89fgHYfKCmrbxQJOLfgXngvMFVJaaaY",
    ],
)
def test_hostile_hashes(password_hash: str) -> None:
    """A hash that is malformed, or would take all memory to check, matches nothing, and is not computed."""
    assert not credentials.matches("correct horse", password_hash)


def test_generated_passwords() -> None:
    """Generated passwords pass our own validation, differ, and contain no ambiguous characters."""
    passwords = {credentials.generate_password() for _ in range(100)}
    assert len(passwords) == 100
    for password in passwords:
        credentials.validate_password(password)
        assert not set(password) & set("l1o0")


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1025, "with\nnewline", "with\0zero"])
def test_bad_passwords_are_refused(password: str) -> None:
    """A password that is too short, too long or impossible to type into a form is refused, and the message does not
    repeat it.
    """
    with pytest.raises(ConfigError) as excinfo:
        credentials.validate_password(password)
    assert not password or password not in str(excinfo.value)
