"""Where to connect to: `user@host:port`, with everything refused that a shell or OpenSSH could misread."""

import ipaddress
import re
from typing import NoReturn

import msgspec

from notebooks_over_ssh.errors import BadSetting

# One label of a host name. The underscore is not in RFC 1123, but hosts that have one exist.
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]*)\](?::(.*))?", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
# What OpenSSH's valid_ruser() refuses (ssh.c), for a user name may end up in a ProxyCommand.
_NOT_IN_A_USER_NAME = frozenset("'`\"$\\;&<>|(){}*?!#~,:/[]%")
SSH_PORT = 22
_LONGEST_NAME = 253  # RFC 1035, 2.3.4, without the final dot


class Place(msgspec.Struct, frozen=True):
    """An SSH server: a host name or address (no brackets), and who and where on it, if that was said."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port is not None else self.host
        user = "" if self.user is None else f"{self.user}@"
        return user + host + ("" if self.port is None else f":{self.port}")


def parse_place(text: str, where: str) -> Place:
    """Read `host`, `user@host`, `host:port` or `user@host:port`; `where` is how messages call it.

    An IPv6 address with a port stands in brackets. Raises BadSetting for everything else.
    """
    user, at, rest = text.rpartition("@")
    host, port = _split_port(rest, text, where)
    _check_host(host, text, where)
    return Place(
        host=host,
        user=parse_user(user, where) if at else None,
        port=None if port is None else _number(port, text, where),
    )


def parse_user(text: str, where: str) -> str:
    """Give `text` back if it can be a login name; `where` is how messages call it. Raises BadSetting."""
    if not text:
        raise BadSetting(f"{where} has an empty user name", hint="write user@host, or the host alone")
    for character in text:
        if character.isspace() or not character.isprintable() or character in _NOT_IN_A_USER_NAME:
            raise BadSetting(
                f"{where} has {character!r} in the user name {text!r}",
                hint="use the name that you log in with, as in s1234567",
            )
    if text.startswith("-"):
        raise BadSetting(
            f"{where} has a user name that starts with a dash: {text!r}",
            hint="use the name that you log in with, as in s1234567",
        )
    return text


def _split_port(rest: str, text: str, where: str) -> tuple[str, str | None]:
    if rest.startswith("["):
        bracketed = _BRACKETED.fullmatch(rest)
        if bracketed is None or not _is_ipv6(bracketed[1]):
            _refuse(text, where, "write an IPv6 address with a port as [2001:db8::1]:22")
        return bracketed[1], bracketed[2]
    if rest.count(":") > 1:
        if not _is_ipv6(rest):
            _refuse(text, where, "write an IPv6 address with a port as [2001:db8::1]:22")
        return rest, None
    host, colon, port = rest.partition(":")
    return host, port if colon else None


def _check_host(host: str, text: str, where: str) -> None:
    if not host:
        _refuse(text, where, "name a host, as in student.compute")
    if ":" in host:  # an IPv6 address, already checked
        return
    if not host.isascii() and host.replace(".", "").replace("-", "").isalnum():
        _refuse(text, where, "write the name in its ASCII form, which starts with xn--")
    name = host.removesuffix(".")
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        _refuse(text, where, "a host name has letters, digits, dots and dashes only, as in student.compute")


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _number(port: str, text: str, where: str) -> int:
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        _refuse(text, where, "a port is a whole number from 1 to 65535")
    return int(port)


def _refuse(text: str, where: str, hint: str) -> NoReturn:
    raise BadSetting(f"{where} must be a host, as in user@host:port, not {text!r}", hint=hint)
