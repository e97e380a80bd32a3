"""Parses destinations, `user@host:port`, and rejects what a shell or OpenSSH could misinterpret."""

import ipaddress
import re
from typing import NoReturn

import msgspec

from notebooks_over_ssh.errors import ConfigError

# One label of a host name; RFC 1123 does not allow the underscore, but it is in use.
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]*)\](?::(.*))?", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
# As valid_ruser() in OpenSSH's ssh.c: a ProxyCommand may contain the user name.
_INVALID_USER_CHARACTERS = frozenset("'`\"$\\;&<>|(){}*?!#~,:/[]%")
SSH_PORT = 22
_MAX_NAME_LENGTH = 253  # RFC 1035, 2.3.4, without the final dot


class Destination(msgspec.Struct, frozen=True):
    """A host name or address (without brackets), with an optional user and port."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port is not None else self.host
        user = "" if self.user is None else f"{self.user}@"
        return user + host + ("" if self.port is None else f":{self.port}")


def parse_destination(text: str, option_name: str) -> Destination:
    """Parse `host`, `user@host`, `host:port` or `user@host:port`; an IPv6 address with a port needs brackets.

    `option_name` is the name in messages. Raises ConfigError for anything else.
    """
    user, separator, host_port = text.rpartition("@")
    host, port = _split_port(host_port, text, option_name)
    _check_host(host, text, option_name)
    return Destination(
        host=host,
        user=parse_user(user, option_name) if separator else None,
        port=None if port is None else _number(port, text, option_name),
    )


def parse_user(text: str, option_name: str) -> str:
    """Return `text` if it is a valid user name; `option_name` is its name in messages. Raises ConfigError."""
    if not text:
        raise ConfigError(f"{option_name} has an empty user name", hint="use user@host, or the host alone")
    for character in text:
        if character.isspace() or not character.isprintable() or character in _INVALID_USER_CHARACTERS:
            raise ConfigError(
                f"{option_name} has {character!r} in the user name {text!r}",
                hint="use the name that you log in with, as in s1234567",
            )
    if text.startswith("-"):
        raise ConfigError(
            f"{option_name} has a user name that starts with a dash: {text!r}",
            hint="use the name that you log in with, as in s1234567",
        )
    return text


def _split_port(host_port: str, text: str, option_name: str) -> tuple[str, str | None]:
    if host_port.startswith("["):
        match = _BRACKETED.fullmatch(host_port)
        if match is None or not _is_ipv6(match[1]):
            _fail(text, option_name, "write an IPv6 address with a port as [2001:db8::1]:22")
        return match[1], match[2]
    if host_port.count(":") > 1:
        if not _is_ipv6(host_port):
            _fail(text, option_name, "write an IPv6 address with a port as [2001:db8::1]:22")
        return host_port, None
    host, colon, port = host_port.partition(":")
    return host, port if colon else None


def _check_host(host: str, text: str, option_name: str) -> None:
    if not host:
        _fail(text, option_name, "name a host, as in student.compute")
    if ":" in host:  # an IPv6 address, already checked
        return
    if not host.isascii() and host.replace(".", "").replace("-", "").isalnum():
        _fail(text, option_name, "write the name in its ASCII form, which starts with xn--")
    name = host.removesuffix(".")
    if len(name) > _MAX_NAME_LENGTH or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        _fail(
            text, option_name, "a host name has letters, digits, dots and dashes only, as in student.compute"
        )


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _number(port: str, text: str, option_name: str) -> int:
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        _fail(text, option_name, "a port is a whole number from 1 to 65535")
    return int(port)


def _fail(text: str, option_name: str, hint: str) -> NoReturn:
    raise ConfigError(f"{option_name} must be a host, as in user@host:port, not {text!r}", hint=hint)
