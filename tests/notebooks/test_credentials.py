"""A password's hash is what Jupyter itself checks, and a made-up one is strong."""

import pytest
from jupyter_server.auth.security import passwd_check

from notebooks_over_ssh.errors import BadSetting
from notebooks_over_ssh.jupyter import passwords as credentials


@pytest.mark.parametrize("argon2", [True, False])
@pytest.mark.parametrize(
    "password", ["correct horse", "pässwörd mit ß", "日本語のパスワード", "a'b\"c$d\\e f"]
)
def test_jupyter_accepts_the_hash(password: str, argon2: bool) -> None:
    """Jupyter takes the password for its hash and no other, for each form of hash and any letters."""
    hashed = credentials.hashed(password, argon2=argon2)
    assert hashed.startswith("argon2:$argon2id$" if argon2 else "sha256:")
    assert passwd_check(hashed, password)  # type: ignore[no-untyped-call] # Jupyter has no types here
    assert not passwd_check(hashed, password + "x")  # type: ignore[no-untyped-call]


def test_hashes_are_salted() -> None:
    """One password has another hash each time."""
    for argon2 in (True, False):
        assert credentials.hashed("correct horse", argon2=argon2) != credentials.hashed(
            "correct horse", argon2=argon2
        )


def test_made_up_passwords() -> None:
    """They pass our own check, differ, and have no letters that are hard to tell apart."""
    made = {credentials.made_up() for _ in range(100)}
    assert len(made) == 100
    for password in made:
        credentials.check(password)
        assert not set(password) & set("l1o0")


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1025, "with\nnewline", "with\0zero"])
def test_bad_passwords_are_refused(password: str) -> None:
    """Too short, too long or impossible to type into a form is refused, and the message does not repeat it."""
    with pytest.raises(BadSetting) as refused:
        credentials.check(password)
    assert not password or password not in str(refused.value)
