"""Host keys of a machine that itself reported them, over a connection that had been verified before."""

from collections.abc import Iterable, Sequence

import paramiko

from notebooks_over_ssh.errors import HostKeyError
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy, Machine, fingerprint
from notebooks_over_ssh.ssh.prompting import CredentialPrompter


class ReportedKeyPolicy(HostKeyPolicy):
    """Accepts only a key that the machine reported, and only if known_hosts does not have other keys for its name.

    It never asks the user.
    """

    def __init__(
        self,
        hop: HopConfig,
        credentials: CredentialPrompter,
        reported: Iterable[tuple[str, str]],
        pins: Sequence[Iterable[str]],
    ) -> None:
        """`reported` has the type and the base64 of each key. Raises HostKeyError if known_hosts cannot be read."""
        super().__init__(hop, credentials, pins=pins)
        self._reported = {key: kind for kind, key in reported}

    def order_algorithms(self, algorithms: Iterable[str]) -> tuple[str, ...]:
        """The host key algorithms, those first of which known_hosts has a key, then those that were reported."""
        reported = set(self._reported.values())
        if "ssh-rsa" in reported:
            reported |= {"rsa-sha2-512", "rsa-sha2-256"}
        by_report = sorted(algorithms, key=lambda algorithm: algorithm not in reported)
        return super().order_algorithms(by_report)

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Verify the host key. Raises HostKeyError."""
        presented = key.get_base64()
        if presented not in self._reported:
            raise HostKeyError(
                f"the host key of {self.name} is none of those that the job found on its node: "
                f"{key.get_name()} {fingerprint(key)}",
                hint="ask the administrators of the cluster: another machine may answer in place of the node",
            )
        # As the key on record for a session: valid unless known_hosts has others.
        self.machine = Machine(self.host, presented)
        super().missing_host_key(client, hostname, key)
