"""Which account listens on a port of the host: any but the user's own and root is reported."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

USER, ROOT, SYSTEM, OTHER, OVERFLOW = 1000, 0, 33, 1001, 65534
HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(port: int, user: int, *, address: str = "0100007F", state: str = "0A") -> str:
    """A row of /proc/net/tcp."""
    return (
        f"   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000"
        f" {user:5}        0 {port} 1 0000000000000000 100 0 0 10 0\n"
    )


TCP = [
    row(7001, USER),
    row(7002, ROOT),
    row(7003, SYSTEM),
    row(7004, OTHER, address="00000000"),
    row(7005, OVERFLOW),
    row(7006, OTHER, state="01"),
    row(7007, USER),
    row(7007, OTHER, address="0200007F"),
]
TCP6 = [
    row(7008, OTHER, address="00000000000000000000000001000000"),
    row(7009, USER, address="00000000000000000000000000000000"),
]
FILES = {"/proc/net/tcp": TCP, "/proc/net/tcp6": TCP6}
FOREIGN = [(7003, SYSTEM), (7004, OTHER), (7005, OVERFLOW), (7007, OTHER), (7008, OTHER)]


@pytest.fixture
def report(
    import_remote: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[tuple[int, int]]]:
    """Returns what the program reports of some ports, on a host with the files of /proc that are given."""
    program = import_remote("port_owners")
    common: Any = import_remote("common")
    monkeypatch.setattr(os, "getuid", lambda: USER)
    replies: list[dict[str, Any]] = []
    monkeypatch.setattr(program, "reply", lambda **fields: replies.append(fields))

    def run(ports: range | list[int], files: dict[str, list[str]]) -> list[tuple[int, int]]:
        def open_file(path: str | Path, *_: object) -> io.StringIO:
            if path not in files:
                raise FileNotFoundError(path)
            return io.StringIO(HEADER + "".join(files[str(path)]))

        monkeypatch.setattr(common, "open", open_file, raising=False)
        monkeypatch.setattr(os, "access", lambda path, _: path in files)
        program.main({"ports": list(ports)})
        reply = replies.pop()
        assert reply["problem"] == ""
        assert reply["is_known"] is ("/proc/net/tcp" in files)
        foreign: list[tuple[int, int]] = reply["foreign"]
        return foreign

    return run


def test_other_accounts(report: Callable[..., list[tuple[int, int]]]) -> None:
    """A listener of any other account is reported, whatever its user ID and address; a connection is not."""
    assert report(range(7000, 7100), FILES) == FOREIGN


@pytest.mark.parametrize("port", range(7001, 7011))
def test_other_ports(report: Callable[..., list[tuple[int, int]]], port: int) -> None:
    """Other ports are not reported."""
    assert report([port], FILES) == [entry for entry in FOREIGN if entry[0] == port]


def test_no_ipv6(report: Callable[..., list[tuple[int, int]]]) -> None:
    """Without the file for IPv6, that for IPv4 counts."""
    assert report([7008, 7004], {"/proc/net/tcp": TCP}) == [(7004, OTHER)]


def test_no_proc(report: Callable[..., list[tuple[int, int]]]) -> None:
    """Without the file for IPv4, the reply says that the listeners are not known."""
    assert report([7008, 7004], {}) == []
