"""A host key is known exactly when sshd(8) says so."""

import base64
import contextlib
import hmac
import socket
from pathlib import Path
from typing import Any

import paramiko
import pytest

from notebooks_over_ssh.errors import HostKeyError
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy, Machine, WrongMachineError, fingerprint
from notebooks_over_ssh.ssh.known_hosts import known_keys
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from tests.kit.prompter import ScriptedPrompter

KEY = paramiko.ECDSAKey.generate()
OTHER = paramiko.ECDSAKey.generate()
CLIENT = paramiko.SSHClient()


@pytest.fixture
def known_hosts(tmp_path: Path) -> Path:
    return tmp_path / "ssh" / "known_hosts"


def line(hosts: str, key: paramiko.PKey = KEY, marker: str = "") -> str:
    return f"{marker}{hosts} {key.get_name()} {key.get_base64()} a comment\n"


def check(
    known_hosts: Path, name: str, key: paramiko.PKey = KEY, answer: str | None = None
) -> ScriptedPrompter:
    prompter = ScriptedPrompter(answer)
    policy(known_hosts, name, prompter).missing_host_key(CLIENT, name, key)
    assert prompter.hidden_prompts == prompter.banner_lines == []
    return prompter


def policy(known_hosts: Path, name: str, prompter: ScriptedPrompter, **extra: Any) -> HostKeyPolicy:
    """The policy for a hop that known_hosts calls `name`: `ashbury` or `[ashbury]:2222`."""
    host, _, port = name.strip("[").partition("]:")
    hop = HopConfig(host=host, user="me", port=int(port or 22), known_hosts=(known_hosts,))
    return HostKeyPolicy(hop, CredentialPrompter(prompter), **extra)


def write(known_hosts: Path, text: str) -> None:
    known_hosts.parent.mkdir(exist_ok=True)
    known_hosts.write_text(text)


def hash_name(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), "sha1").digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ("ashbury", "ashbury"),
        ("bonnington,ashbury,10.0.0.1", "ashbury"),
        ("Ashbury", "ashbury"),
        ("ashbury", "ASHBURY"),
        ("*.compute", "student.compute"),
        ("ashbur?", "ashbury"),
        ("[ashbury]:2222", "[ashbury]:2222"),
        (hash_name("ashbury"), "ashbury"),
        (hash_name("[ashbury]:2222"), "[ashbury]:2222"),
    ],
)
def test_known_names(known_hosts: Path, hosts: str, name: str) -> None:
    """A name is found plain, in a list, by a pattern, with its port and hashed, without a prompt."""
    write(known_hosts, "# a comment\n\n" + line(hosts))
    assert check(known_hosts, name).prompts == []


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ("ashbury", "[ashbury]:2222"),
        ("[ashbury]:2222", "ashbury"),
        ("*,!ashbury", "ashbury"),
        ("[a-z]shbury", "ashbury"),
        (hash_name("bonnington"), "ashbury"),
        ("|1|nonsense|!", "ashbury"),
    ],
)
def test_other_names(known_hosts: Path, hosts: str, name: str) -> None:
    """A line for another name, another port or an excluded name does not match; without a terminal the key is
    refused.
    """
    write(known_hosts, line(hosts))
    with pytest.raises(HostKeyError, match="is not known") as excinfo:
        check(known_hosts, name)
    assert fingerprint(KEY) in str(excinfo.value)
    assert known_hosts.read_text() == line(hosts)


def test_every_member_of_a_pool(known_hosts: Path) -> None:
    """A name with several keys of one type accepts each of them."""
    write(known_hosts, line("student.compute", OTHER) + line("student.compute"))
    check(known_hosts, "student.compute", KEY)
    check(known_hosts, "student.compute", OTHER)


def test_changed_key(known_hosts: Path) -> None:
    """A key that differs from the recorded one is refused without a prompt, and the error names the line."""
    write(known_hosts, "# first\n" + line("ashbury", OTHER))
    with pytest.raises(HostKeyError, match="does not match the one") as excinfo:
        check(known_hosts, "ashbury", answer="yes")
    assert f"{known_hosts}:2" in excinfo.value.hint


def test_revoked_key(known_hosts: Path) -> None:
    """A revoked key is refused although another line has it."""
    write(known_hosts, line("ashbury") + line("*", marker="@revoked "))
    with pytest.raises(HostKeyError, match="revoked"):
        check(known_hosts, "ashbury", answer="yes")


@pytest.mark.parametrize("answer", ["yes", "YES", pytest.param(fingerprint(KEY), id="fingerprint")])
def test_accepted_keys_are_recorded(known_hosts: Path, answer: str) -> None:
    """Yes, or the fingerprint itself, accepts an unknown key and records it; the file is private."""
    prompter = check(known_hosts, "ashbury", answer=answer)
    assert fingerprint(KEY) in prompter.prompts[0]
    assert check(known_hosts, "ashbury").prompts == []
    assert known_hosts.stat().st_mode & 0o777 == 0o600


def test_hash_known_hosts(known_hosts: Path) -> None:
    """With HashKnownHosts the name is hashed in the file, and found."""
    hop = HopConfig(host="ashbury", user="me", port=22, known_hosts=(known_hosts,), hash_known_hosts=True)
    HostKeyPolicy(hop, CredentialPrompter(ScriptedPrompter("yes"))).missing_host_key(CLIENT, "ashbury", KEY)
    assert known_hosts.read_text().startswith("|1|")
    assert "ashbury" not in known_hosts.read_text()
    assert check(known_hosts, "ashbury").prompts == []


def test_missing_final_newline(known_hosts: Path) -> None:
    """A key is added on its own line, and the lines before it stay."""
    write(known_hosts, line("bonnington", OTHER).rstrip("\n"))
    check(known_hosts, "ashbury", answer="yes")
    assert {entry.hosts for entry in known_keys("ashbury", [known_hosts])} == {"ashbury"}
    assert {entry.hosts for entry in known_keys("bonnington", [known_hosts])} == {"bonnington"}


@pytest.mark.parametrize(
    "answer",
    ["", "y", "no", "SHA256:AAAA", pytest.param(fingerprint(OTHER), id="fingerprint of another"), None],
)
def test_other_answers_refuse(known_hosts: Path, answer: str | None) -> None:
    """Only a full yes or the right fingerprint accepts; otherwise nothing is written."""
    with pytest.raises(HostKeyError):
        check(known_hosts, "ashbury", answer=answer)
    assert not known_hosts.exists()


def session_policy(
    known_hosts: Path, name: str, machine: str = "ashbury", recorded_key: paramiko.PKey = KEY
) -> HostKeyPolicy:
    """The policy for the destination of a session on `machine`, which had the recorded key."""
    return policy(
        known_hosts, name, ScriptedPrompter("yes"), machine=Machine(machine, recorded_key.get_base64())
    )


def test_recorded_key_of_a_session(known_hosts: Path) -> None:
    """A session's machine is recognized by its recorded key, also under a name that is in no file."""
    checking = session_policy(known_hosts, "ashbury")
    checking.missing_host_key(CLIENT, "ashbury", KEY)
    with pytest.raises(HostKeyError, match="does not match the one"):
        checking.missing_host_key(CLIENT, "ashbury", OTHER)


def test_known_hosts_overrides_the_recorded_key(known_hosts: Path) -> None:
    """Where known_hosts has another key for the name, the recorded one is refused, and the new one accepted."""
    write(known_hosts, line("ashbury", OTHER))
    checking = session_policy(known_hosts, "ashbury")
    with pytest.raises(HostKeyError, match="does not match the one"):
        checking.missing_host_key(CLIENT, "ashbury", KEY)
    checking.missing_host_key(CLIENT, "ashbury", OTHER)


def test_another_pool_member(known_hosts: Path) -> None:
    """A pool that leads to another member, whose key is known too, is not the session's machine."""
    write(known_hosts, line("student.compute") + line("student.compute", OTHER))
    checking = session_policy(known_hosts, "student.compute")
    checking.missing_host_key(CLIENT, "student.compute", KEY)
    with pytest.raises(WrongMachineError, match="is valid, but is not the one recorded for ashbury"):
        checking.missing_host_key(CLIENT, "student.compute", OTHER)


@pytest.mark.parametrize(
    ("text", "recorded_key", "error"),
    [
        (line("ashbury", OTHER) + line("pool"), KEY, HostKeyError),
        (line("pool") + line("pool", OTHER), OTHER, WrongMachineError),
    ],
    ids=["known_hosts has another key for its own name", "a key of another member"],
)
def test_key_of_a_pool_for_a_member(
    known_hosts: Path, text: str, recorded_key: paramiko.PKey, error: type[HostKeyError]
) -> None:
    """The pool's entry in known_hosts counts for a member only if there is none for its own name, and never for
    another.
    """
    write(known_hosts, text)
    pool = HopConfig(host="pool", user="me", port=22, known_hosts=(known_hosts,))
    machine = Machine("ashbury", recorded_key.get_base64())
    with pytest.raises(error):
        policy(
            known_hosts, "ashbury", ScriptedPrompter("yes"), machine=machine, requested_hop=pool
        ).missing_host_key(CLIENT, "ashbury", KEY)


class ConnectedClient:
    """A client whose server has an address for documentation (RFC 5737)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sock = socket.socket()
        self.sock.close()
        monkeypatch.setattr(socket.socket, "getpeername", lambda _: ("192.0.2.7", 22))

    def get_transport(self) -> Any:
        return self


@pytest.mark.parametrize(
    ("marker", "key", "answer", "is_good", "prompts"),
    [
        ("", KEY, None, True, False),
        ("", OTHER, None, False, True),
        ("", OTHER, "no", False, True),
        ("", OTHER, "yes", True, True),
        ("@revoked ", KEY, "yes", False, False),
        ("@revoked ", OTHER, "yes", True, False),
    ],
)
def test_address(
    known_hosts: Path,
    monkeypatch: pytest.MonkeyPatch,
    marker: str,
    key: paramiko.PKey,
    answer: str | None,
    is_good: bool,
    prompts: bool,
) -> None:
    """With CheckHostIP, a key that known_hosts lacks for the address needs a confirmation, and a revoked one is
    refused.
    """
    write(known_hosts, line("ashbury") + line("192.0.2.7", key, marker))
    client: Any = ConnectedClient(monkeypatch)
    prompter = ScriptedPrompter(answer)
    for checks, good, questions in ((False, True, False), (True, is_good, prompts)):
        hop = HopConfig(host="ashbury", user="me", port=22, known_hosts=(known_hosts,), check_host_ip=checks)
        with contextlib.nullcontext() if good else pytest.raises(HostKeyError, match=r"192\.0\.2\.7"):
            HostKeyPolicy(hop, CredentialPrompter(prompter)).missing_host_key(client, "ashbury", KEY)
        assert bool(prompter.prompts) == questions


def test_known_types_come_first(known_hosts: Path) -> None:
    """Key types that known_hosts has are requested first."""
    write(known_hosts, line("ashbury"))
    checking = policy(known_hosts, "ashbury", ScriptedPrompter())
    assert checking.order_algorithms(("ssh-ed25519", KEY.get_name()))[0] == KEY.get_name()
