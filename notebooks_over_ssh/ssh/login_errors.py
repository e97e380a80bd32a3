"""The errors of a login that failed; `account` is the account on the hop, as prompts name it."""

import re
from collections.abc import Sequence

from notebooks_over_ssh.errors import AuthenticationError
from notebooks_over_ssh.ssh.gssapi_context import METHOD as GSSAPI
from notebooks_over_ssh.ssh.gssapi_context import GSSAPIError
from notebooks_over_ssh.util.peer_text import quote

# RFC 4250, section 4.6.1: printable US-ASCII without commas, at most 64 characters.
METHOD_NAME = re.compile(r"[A-Za-z0-9@._-]{1,64}")
MAX_METHODS_SHOWN = 8


def no_answer_error(account: str, *, is_interactive: bool) -> AuthenticationError:
    """There was no answer at a prompt, or no terminal to prompt at."""
    if is_interactive:
        return AuthenticationError(
            f"no answer at the prompt of {account}", hint="run it again and answer the prompt"
        )
    return AuthenticationError(
        f"{account} requires a password or one-time code, and there is no terminal to prompt for it",
        hint="run it in a terminal, or set up a key with ssh-copy-id",
    )


def too_many_rounds_error(account: str, rounds: int) -> AuthenticationError:
    """The hop prompts without end."""
    return AuthenticationError(
        f"{account} sent more than {rounds} rounds of prompts in one login",
        hint="set up a key with ssh-copy-id",
    )


def disconnected_error(account: str, reason: str, attempts: str) -> AuthenticationError:
    """The hop disconnected, and gave a reason. `attempts` is for the end of the message."""
    return AuthenticationError(
        f"{account} closed the connection during login: {quote(reason)}{attempts}",
        hint="specify the right key in ~/.ssh/config: IdentityFile, with IdentitiesOnly yes",
    )


def refused_error(
    account: str, allowed_methods: Sequence[str], attempts: str, gssapi_error: GSSAPIError | None
) -> AuthenticationError:
    """The hop refused every method. `allowed_methods` are those that it accepts, `attempts` is as above."""
    names = [method for method in allowed_methods if METHOD_NAME.fullmatch(method)]
    methods = f" (it accepts {' or '.join(names[:MAX_METHODS_SHOWN])})" if names else ""
    message = f"{account} refused the login{methods}{attempts}"
    if gssapi_error is not None and GSSAPI in names:
        return AuthenticationError(f"{message}; {gssapi_error}", hint=gssapi_error.hint)
    return AuthenticationError(message, hint="check the user name (user@host) and the key (-i FILE)")


def describe_attempts(attempted: Sequence[str], skipped: Sequence[str], methods: Sequence[str]) -> str:
    """The methods and keys that were tried, and the keys that were not, for the end of a message.

    `methods` are those that ssh_config allows.
    """
    if not attempted and not skipped:
        return "; no key was found" if "publickey" in methods else "; ssh_config allows none of these"
    attempts = f"; tried: {', '.join(attempted)}" if attempted else ""
    return attempts + (f"; skipped: {', '.join(skipped)}" if skipped else "")
