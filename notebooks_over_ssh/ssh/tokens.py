"""Expands tokens and environment variables (TOKENS and ENVIRONMENT VARIABLES in ssh_config(5))."""

import hashlib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class TokenContext:
    """The values of the tokens for one hop."""

    original_host: str
    host: str
    port: int
    user: str
    alias: str = ""
    jump: str = ""

    def values(self) -> Mapping[str, str]:
        """The value of each token, by its letter."""
        hostname = socket.gethostname()
        digest = hashlib.sha1(  # the definition of %C in ssh_config(5)
            f"{hostname}{self.host}{self.port}{self.user}{self.jump}".encode(), usedforsecurity=False
        )
        return {
            "%": "%",
            "C": digest.hexdigest(),
            "d": str(Path.home()),
            "h": self.host,
            "i": str(os.getuid()),
            "j": self.jump,
            "k": self.alias or self.original_host,
            "L": hostname.partition(".")[0],
            "l": hostname,
            "n": self.original_host,
            "p": str(self.port),
            "r": self.user,
            "u": getuser(),
        }


def expand_tokens(text: str, context: TokenContext, extra: Mapping[str, str] | None = None) -> str:
    """Expand the tokens, including those of `extra`; unknown ones are left unchanged."""
    values = {**context.values(), **(extra or {})}
    expanded, rest = "", text
    while rest:
        before, percent, rest = rest.partition("%")
        expanded += before
        if percent:
            expanded += values.get(rest[:1], f"%{rest[:1]}")
            rest = rest[1:]
    return expanded


def expand_path(text: str, context: TokenContext) -> str:
    """Expand tokens and `${VARIABLE}`, as ssh does in paths; a variable that is not set is left unchanged."""
    return VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), expand_tokens(text, context))
