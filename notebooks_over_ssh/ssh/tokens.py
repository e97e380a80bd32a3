"""Fills in what ssh_config(5) calls TOKENS and ENVIRONMENT VARIABLES."""

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
    """What the tokens stand for in the configuration of one hop."""

    original_host: str
    host: str
    port: int
    user: str
    alias: str = ""
    jump: str = ""

    def values(self) -> Mapping[str, str]:
        """Each token's letter, and what it stands for."""
        hostname = socket.gethostname()
        digest = hashlib.sha1(  # as ssh itself makes it
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
    """The text with every token that is known filled in, also those of `extra`; others stay as they are."""
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
    """As `expand_tokens`, with `${VARIABLE}` filled in too, as ssh does it in paths; one that is not set stays as it is."""
    return VARIABLE.sub(lambda found: os.environ.get(found[1], found[0]), expand_tokens(text, context))
