"""The server's token, as the host reports it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter import server

TOKEN = "5e" * 24
SESSION = cast(Any, SimpleNamespace(host="ashbury", process_start="1"))


def token_in(reply: dict[str, Any] | RemoteError, monkeypatch: pytest.MonkeyPatch) -> str:
    """The token in the reply of the program on the host; an error is raised in place of a reply."""

    def run_program(*_: object, **__: object) -> dict[str, Any]:
        if isinstance(reply, RemoteError):
            raise reply
        return reply

    monkeypatch.setattr(server, "run_program", run_program)
    return server.get_token(cast(Any, None), SESSION)


def test_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid token is returned."""
    assert token_in({"problem": "", "token": TOKEN}, monkeypatch) == TOKEN


@pytest.mark.parametrize(
    "token", [TOKEN[1:], TOKEN + "0", TOKEN.upper(), f"{TOKEN}\n", "\r\nX: y" + TOKEN[6:], 7, None]
)
def test_invalid_token(monkeypatch: pytest.MonkeyPatch, token: object) -> None:
    """Anything but 48 hexadecimal digits is an error that does not quote it."""
    with pytest.raises(RemoteError, match="invalid reply") as error:
        token_in({"problem": "", "token": token}, monkeypatch)
    assert TOKEN[10:] not in str(error.value)


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has ended is an error with a hint."""
    with pytest.raises(RemoteError, match="on ashbury cannot be read") as error:
        token_in({"problem": "server-ended"}, monkeypatch)
    assert error.value.hint


def test_error_without_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output of a program that failed may contain the token, so it is in no error."""
    failure = RemoteError(
        "no reply within 30 s", hint="try again", detail=(f'{{"token": "{TOKEN}"}}',), source="h"
    )
    with pytest.raises(RemoteError, match="no reply") as error:
        token_in(failure, monkeypatch)
    assert error.value.detail == () and error.value.hint == "try again"
    assert error.value.__cause__ is None and error.value.__suppress_context__
