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
class Names:
    """What the tokens stand for in the configuration of one hop."""

    asked: str
    host: str
    port: int
    user: str
    alias: str = ""
    jump: str = ""

    def values(self) -> Mapping[str, str]:
        """Each token's letter, and what it stands for."""
        here = socket.gethostname()
        digest = hashlib.sha1(  # as ssh itself makes it
            f"{here}{self.host}{self.port}{self.user}{self.jump}".encode(), usedforsecurity=False
        )
        return {
            "%": "%",
            "C": digest.hexdigest(),
            "d": str(Path.home()),
            "h": self.host,
            "i": str(os.getuid()),
            "j": self.jump,
            "k": self.alias or self.asked,
            "L": here.partition(".")[0],
            "l": here,
            "n": self.asked,
            "p": str(self.port),
            "r": self.user,
            "u": getuser(),
        }


def fill_tokens(text: str, names: Names, more: Mapping[str, str] | None = None) -> str:
    """The text with every token that is known filled in, also those of `more`; others stay as they are."""
    values = {**names.values(), **(more or {})}
    filled, rest = "", text
    while rest:
        before, percent, rest = rest.partition("%")
        filled += before
        if percent:
            filled += values.get(rest[:1], f"%{rest[:1]}")
            rest = rest[1:]
    return filled


def fill_path(text: str, names: Names) -> str:
    """As `fill_tokens`, with `${VARIABLE}` filled in too, as ssh does it in paths; one that is not set stays as it is."""
    return VARIABLE.sub(lambda found: os.environ.get(found[1], found[0]), fill_tokens(text, names))
