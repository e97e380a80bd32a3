"""The debug log records connections, keys, programs and channels, and no secret."""

import json
import re
import stat

from tests.kit.cli import User, assert_success
from tests.kit.users import generated_password

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ [a-z_.]+: \S")


def test_log_of_a_tunnel(fresh_user: User) -> None:
    """With NOTEBOOKS_DEBUG=1, a log that only its user can read names hops, keys, programs and channels, and no
    secret.
    """
    result = assert_success(fresh_user.fab("up", "--detach", NOTEBOOKS_DEBUG="1"))
    doctor = assert_success(fresh_user.fab("doctor", NOTEBOOKS_DEBUG="1"))
    log = fresh_user.home / ".local/state/notebooks-over-ssh/debug.log"
    assert str(log) in doctor.stdout
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text()
    lines = text.splitlines()
    assert all(LINE.match(line) for line in lines), lines
    events = {
        "the task": r"task up$",
        "the first hop": r"connecting to 127\.0\.0\.1 port \d+$",
        "the next hop": r"through the gateway$",
        "the algorithms": r"cipher \S+, MAC ",
        "the host key": r"host key ssh-\S+ SHA256:",
        "the login": r"logged in with publickey",
        "a program on the host": r"start_server ended after \d+\.\d\d s, \d+ characters, problem ''",
        "a channel": r"channel \d+ to port \d+ opened$",
    }
    assert [name for name, event in events.items() if not any(re.search(event, line) for line in lines)] == []
    # Two processes wrote it: the command's and the tunnel's.
    assert len({line.split()[2] for line in lines}) >= 3
    settings = json.loads(fresh_user.jupyter_config.read_text())
    password_hash = next(value for value in _strings(settings) if value.startswith("argon2:"))
    secrets = [
        generated_password(result),
        password_hash,
        password_hash.rpartition("$")[2],
        "PRIVATE KEY",
        "token=",
    ]
    assert [secret for secret in secrets if secret in text] == []


def test_off_by_default(fresh_user: User) -> None:
    """Without NOTEBOOKS_DEBUG no log is written, and a doctor that finds an error says how to get one."""
    doctor = fresh_user.fab("doctor", INVOKE_GATEWAY="nowhere.invalid")
    assert "NOTEBOOKS_DEBUG=1" in doctor.stdout
    assert [path for path in fresh_user.files() if path.endswith("debug.log")] == []


def test_debug_flag(fresh_user: User) -> None:
    """`fab --debug` writes the same log, and a peer's text does not reach the terminal through it."""
    assert_success(fresh_user.fab("sandbox.start"))
    done = fresh_user.fab("--debug", "doctor")
    log = fresh_user.home / ".local/state/notebooks-over-ssh/debug.log"
    assert "host key" in log.read_text()
    assert "host key ssh" not in done.stderr + done.stdout
    assert "paramiko" not in done.stderr


def test_unwritable_log(fresh_user: User) -> None:
    """A debug log that cannot be written is reported once, and stops nothing."""
    assert_success(fresh_user.fab("sandbox.start"))
    folder = fresh_user.home / ".local/state/notebooks-over-ssh"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "debug.log").symlink_to("elsewhere")
    result = assert_success(fresh_user.fab("status", NOTEBOOKS_DEBUG="1"))
    assert result.stderr.count("debug log") == 1
    assert not (folder / "elsewhere").exists()


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    return [value] if isinstance(value, str) else []
