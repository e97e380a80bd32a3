"""A transport without a connection: it keeps what its channels send."""

from collections.abc import Callable
from typing import cast

import paramiko

from notebooks_over_ssh.ssh.protocol.channel import Channel
from notebooks_over_ssh.ssh.protocol.flow_control import PathEstimate
from notebooks_over_ssh.ssh.protocol.session_ahead import Session
from notebooks_over_ssh.ssh.protocol.sessions_ahead import SessionsAhead


class RecordingTransport:
    """Keeps the packets that are sent, and the callbacks until `run_callbacks`."""

    max_data_bytes = 32768

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.channels: list[Channel] = []
        self.path_estimate = PathEstimate()
        self.packetizer = self
        self.sessions_ahead = SessionsAhead(self)
        self._callbacks: list[Callable[[], None]] = []

    def add(self, channel: Channel) -> None:
        channel.local_id = len(self.channels)
        self.channels.append(channel)

    def remove(self, channel: Channel) -> None:
        if channel in self.channels:
            self.channels.remove(channel)

    def replace(self, channel: Channel, session: Session) -> None:
        session.local_id = channel.local_id
        self.channels[self.channels.index(channel)] = cast(Channel, session)

    def is_active(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing: there is no connection."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def run_callbacks(self) -> None:
        while self._callbacks:
            self._callbacks.pop(0)()

    def _send_user_message(self, message: paramiko.Message) -> None:
        self.sent.append(message.asbytes())
