"""A process that offers its login to others uses it directly itself, by whatever name it connects."""

from contextlib import closing
from dataclasses import replace
from getpass import getuser

import pytest

from notebooks_over_ssh.config.settings import parse_destination
from notebooks_over_ssh.errors import ConnectError
from notebooks_over_ssh.ssh.connections import connect
from notebooks_over_ssh.ssh.host_keys import Machine, WrongMachineError
from notebooks_over_ssh.ssh.jump_chain import ConnectTarget
from notebooks_over_ssh.ssh.mux.holder import LoginHolder
from notebooks_over_ssh.ssh.mux.login_sockets import login_sockets
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK


def test_another_name(client: Client) -> None:
    """The user and port of ssh_config(5), as a session records them, lead to the open Connection; it must be to the
    machine that is wanted.
    """
    host = client.server("host")
    client.write_known_hosts(host.known_hosts_line)
    settings = client.settings(ssh_config=f"Host alias\n    HostName {LOOPBACK}\n    Port {host.port}\n")
    names = ("alias", f"{getuser()}@alias:{host.port}")
    targets = [ConnectTarget(parse_destination(name, "the host")) for name in names]
    credentials = CredentialPrompter(ScriptedPrompter())
    with closing(LoginHolder()) as logins:
        connection = connect(settings, targets[0], credentials)
        logins.offer(connection)
        assert len(login_sockets()) == 1
        assert connect(settings, targets[1], credentials) is connection
        other = replace(
            targets[1],
            machine=Machine("elsewhere.invalid", client.key.with_suffix(".pub").read_text().split()[1]),
        )
        with pytest.raises(ConnectError) as refused:
            connect(settings, other, credentials)
        assert isinstance(refused.value.__cause__, WrongMachineError)
    assert host.logins() == 1
