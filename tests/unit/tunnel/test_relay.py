"""Invalid output of a host in place of the relay's."""

from typing import Any, cast

import pytest

from notebooks_over_ssh.tunnel.relay import Relay, _RelaySession
from tests.kit.recording_transport import RecordingTransport


class EndedRelay:
    """Counts how often its program ended."""

    count = 0

    def connection_lost(self) -> None:
        self.count += 1


@pytest.mark.parametrize(
    "reply",
    [
        '{"problem": ' + "[" * 50_000,
        '{"problem": ',
        '{"problem": "x"}',
        '{"problem": null}',
        "{}",
        "python-missing",
        '{"problem": ""}\n\xff\xff\xff\xff',
        '{"problem": ""}\n\0\0\0\0',
    ],
    ids=["deep", "cut", "problem", "null", "nothing", "bootstrap", "long message", "empty message"],
)
def test_no_relay(reply: str) -> None:
    """Output that is not the relay's ends the relay, and nothing else in the thread that received it."""
    relay = EndedRelay()
    session = _RelaySession(RecordingTransport(), cast(Relay, relay))
    output = f"Welcome\n\n{session._marker} {reply}\n".encode("latin-1")
    for part in (output[:20], output[20:], b"more"):
        session.data_received(memoryview(part))
    assert session.has_ended and relay.count == 1


def test_relay() -> None:
    """A relay that reports that it is ready is used."""
    relay: Any = EndedRelay()
    session = _RelaySession(RecordingTransport(), relay)
    session.data_received(memoryview(f'\n{session._marker} {{"problem": ""}}\n'.encode()))
    assert session._is_ready and not session.has_ended
