"""A gateway and a host behind it, each with its own sshd on loopback, and the programs under test as their client.

The benchmarks use it too. None of this user's settings, keys or files is used: the client and the login on the host
have their own home folders.
"""

import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from getpass import getuser
from pathlib import Path
from typing import Any

import psutil
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from notebooks_over_ssh.sandbox.conda_environments import ensure_base, ensure_environment
from tests.kit.cli import User, run
from tests.kit.ports import free_port
from tests.kit.wait import wait_until
from tests.kit.waiting_commands import waits_for_input

LOOPBACK = "127.0.0.1"
SERVER_PASSWORD = "a password of the tests"
STOP_TIMEOUT_S = 10.0
RUN_TIMEOUT_S = 60.0
# The privilege separation directory of root's sshd; systems create it when they start their own sshd.
PRIVSEP_DIR = Path("/run/sshd")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
SYSTEM_PROGRAMS = f"/usr/sbin:/sbin:{SYSTEM_PATH}"
_GENERATE: dict[
    str, Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey]
] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 3072),
}

COMMON_OPTIONS = """\
PidFile none
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin yes
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
X11Forwarding no
PrintMotd no
PrintLastLog no
MaxStartups 100
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""


class Server:
    """An sshd and its files. The given options win over the defaults."""

    def __init__(
        self, name: str, folder: Path, authorized_keys: Path, *options: str, address: str = LOOPBACK
    ) -> None:
        self.name = name
        self.address = address
        self.folder = folder
        self.options = options
        self.authorized_keys = authorized_keys
        self.variables: dict[str, str] = {}
        """Further environment variables of the server itself."""
        self.port = 0
        self.log = folder / "log"
        self.key = folder / "host_key"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        make_key(self.key)

    @property
    def public_key(self) -> str:
        """Type and base64 of the host key, as in known_hosts."""
        return public_key(self.key)

    @property
    def known_hosts_line(self) -> str:
        return known_hosts_line(self.port, self.public_key, self.address)

    @property
    def destination(self) -> str:
        return f"{self.address}:{self.port}"

    def start(self, *options: str) -> None:
        """Start it, on the same port as before; `options` replace the earlier ones."""
        self.options = options or self.options
        for _ in range(5):
            self.port = self.port or free_port()
            if self._try_start():
                return
            self.port = 0  # it was taken meanwhile
        raise RuntimeError(f"sshd does not start: {self.log.read_text()}")

    def stop(self) -> None:
        """Stop it and all its logins."""
        if self._process is None:
            return
        descendants = self.children()
        self._process.terminate()
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None
        terminate_all(descendants)

    def kill(self) -> None:
        """Kill it and all its logins, as a power failure does."""
        for process in [self.process(), *self.children()]:
            process.kill()
        self.stop()

    def new_key(self) -> None:
        """Replace the host key, and restart."""
        self.stop()
        for path in (self.key, self.key.with_suffix(".pub")):
            path.unlink()
        make_key(self.key)
        self.start()

    def fingerprint(self) -> str:
        """The fingerprint of the host key."""
        return fingerprint(self.key)

    def children(self) -> list[psutil.Process]:
        """The processes that serve clients."""
        return self.process().children(recursive=True)

    def waiting_commands(self) -> list[psutil.Process]:
        """The commands that were started ahead, and wait for their input."""
        return [process for process in self.children() if waits_for_input(process)]

    def process(self) -> psutil.Process:
        """The listening process."""
        assert self._process
        return psutil.Process(self._process.pid)

    def wait_until_no_clients(self) -> None:
        """Wait until no client is connected."""
        wait_until(lambda: not self.children(), f"no client is connected to the {self.name}")

    def logins(self) -> int:
        """The number of logins since the first start."""
        return self.log.read_text().count("Accepted publickey")

    def connections(self) -> int:
        """The number of connections since the first start."""
        return self.log.read_text().count("\nConnection from ")

    def write_configuration(self) -> Path:
        """Write sshd_config(5) for the port and options."""
        configuration = self.folder / "sshd_config"
        lines = (
            *self.options,
            f"Port {self.port}",
            f"ListenAddress {self.address}",
            f'HostKey "{self.key}"',
            f'AuthorizedKeysFile "{self.authorized_keys}"',
        )
        configuration.write_text(
            "\n".join(lines) + "\n" + COMMON_OPTIONS + _if_supported("PerSourcePenalties no")
        )
        return configuration

    def _try_start(self) -> bool:
        configuration = self.write_configuration()
        return self._launch([sshd(), "-D", "-e", "-f", str(configuration)], b"Server listening")

    def _launch(self, command: Sequence[str | Path], ready: bytes) -> bool:
        """Run the server; returns whether it listens, as `ready` in its log says, or has exited."""
        log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            process = self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": SYSTEM_PROGRAMS, **self.variables},
            )

        def is_ready() -> bool:
            return process.poll() is not None or ready in self.log.read_bytes()[log_start:]

        wait_until(is_ready, f"the {self.name} listens")
        if process.poll() is None:
            return True
        self._process = None
        return False


class Network:
    """A gateway without a shell, a host behind it, and the two home folders.

    `packages` is a folder for which `prepare_packages` was called.
    """

    def __init__(self, folder: Path, packages: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.user = User(self.home, folder / "temporary")
        self.remote_home = folder / "remote_home"
        self.host_bin = folder / "host_bin"
        self.key = self.home / ".ssh" / "test_key"
        self.known_hosts = self.home / ".ssh" / "known_hosts"
        for directory in (
            self.key.parent,
            self.user.temporary,
            self.remote_home / "mlpractical",
            self.host_bin,
        ):
            directory.mkdir(mode=0o700, parents=True)
        (self.remote_home / "miniconda3").symlink_to(packages / "miniconda3")
        make_key(self.key)
        self.authorized_keys = folder / "authorized_keys"
        shutil.copy(self.key.with_suffix(".pub"), self.authorized_keys)
        self.set_hostname("localhost")
        self.gateway = Server(
            "gateway", folder / "gateway", self.authorized_keys, "AllowTcpForwarding yes", *GATEWAY_OPTIONS
        )
        self.host = Server("host", folder / "host", self.authorized_keys, self.environment())

    def environment(self, **variables: str) -> str:
        """The host's environment, as an option of its sshd."""
        path = f"{self.host_bin}:{SYSTEM_PATH}"
        return set_env({"HOME": str(self.remote_home), "PATH": path, "LANG": "C.UTF-8", **variables})

    def start(self) -> None:
        """Start both, and write known_hosts and settings that lead to them."""
        self.gateway.start()
        self.host.start()
        self.write_known_hosts()
        self.configure()

    def close(self) -> None:
        """Stop both, and all processes that are left."""
        self.gateway.stop()
        self.host.stop()
        terminate_all(self.processes())

    def password_file(self) -> str:
        """A file with a password for the notebook server."""
        path = self.folder / "password"
        path.write_text(f"{SERVER_PASSWORD}\n")
        return str(path)

    def set_hostname(self, name: str) -> None:
        """Set the name that the host reports."""
        program = self.host_bin / "uname"
        program.write_text(
            f'#!/bin/sh\n[ "$*" != -n ] || {{ echo {shlex.quote(name)}; exit; }}\ncommand -p uname "$@"\n'
        )
        program.chmod(0o755)

    @property
    def gateway_destination(self) -> str:
        return self.gateway.destination

    @property
    def host_destination(self) -> str:
        return self.host.destination

    def write_known_hosts(self, *extra: str) -> None:
        """Write the host keys of both, and `extra` lines, to the client's known_hosts."""
        lines = [server.known_hosts_line for server in (self.gateway, self.host)]
        self.known_hosts.write_text("".join(f"{line}\n" for line in (*lines, *extra)))

    def configure(self, *, notebook: dict[str, Any] | None = None, **settings: Any) -> None:
        """Write the client's ~/.invoke.yaml, which leads to the host, with these changes; None omits a key."""
        write_settings(
            self.home, self.gateway_destination, self.host_destination, self.key, notebook, settings
        )

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a system program on the client's side, without a terminal, and wait for it."""
        return run(*command, env=self.user.environment(**variables), check=False)

    def ssh_config(self) -> str:
        """An ssh_config(5) with both as `gateway` and `host`, and none of this user's files."""
        return f"""\
Host gateway
    HostName {self.gateway.address}
    Port {self.gateway.port}
Host host
    HostName {self.host.address}
    Port {self.host.port}
    ProxyJump gateway
Host *
    User {getuser()}
    IdentityFile {self.key}
    IdentitiesOnly yes
    UserKnownHostsFile {self.known_hosts}
    GlobalKnownHostsFile /dev/null
    BatchMode yes
"""

    def processes(self, *homes: Path) -> list[psutil.Process]:
        """The processes with one of these home folders, by default the client's and the host's."""
        homes = homes or (self.home, self.remote_home)
        result = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if Path(process.environ().get("HOME", "")) in homes:
                    result.append(process)
        return result

    def wait_until_empty(self) -> None:
        """End the logins that are kept, and wait until no process is left on either side, and no login."""
        self.user.end_logins()
        wait_until(lambda: not self.processes(), "no process is left on either side")
        for server in (self.gateway, self.host):
            server.wait_until_no_clients()


GATEWAY_OPTIONS = (
    "ForceCommand echo 'This gateway gives no shell.'; exit 1",
    "PermitTTY no",
    "AllowAgentForwarding no",
    "PermitOpen any",
)


def write_settings(
    home: Path, gateway: str, host: str, key: Path, notebook: dict[str, Any] | None, settings: dict[str, Any]
) -> None:
    """Write a ~/.invoke.yaml that leads to the host, with these changes; None omits a key."""
    config = {
        "gateway": gateway,
        "connect_kwargs": {"key_filename": str(key)},
        **settings,
        "notebook": {"host": host, "open_browser": False, **(notebook or {})},
    }
    (home / ".invoke.yaml").write_text(yaml.safe_dump(config))


def prepare_packages(folder: Path) -> None:
    """Create the host's Conda installation in the folder: an environment `mlp` with this project's Jupyter."""
    ensure_base(folder / "miniconda3")
    ensure_environment(folder / "miniconda3" / "envs" / "mlp")


@contextlib.contextmanager
def privsep_dir() -> Iterator[None]:
    """Create the privilege separation directory of sshd if it is missing, and remove it unless another sshd uses it."""
    if os.geteuid() != 0:
        yield
        return
    created = not PRIVSEP_DIR.exists()
    PRIVSEP_DIR.mkdir(mode=0o755, exist_ok=True)
    descriptor = os.open(PRIVSEP_DIR, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        # Another test session may still use it.
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if created:
                PRIVSEP_DIR.rmdir()
        os.close(descriptor)


@cache
def sshd() -> str:
    """The full path of sshd, which it requires; "" if it is not installed."""
    return shutil.which("sshd", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}") or ""


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> None:
    """Create a key pair at `path` and `path`.pub in the format of ssh-keygen(1), also without OpenSSH."""
    key = _GENERATE[kind]()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        openssh = serialization.PrivateFormat.OpenSSH.encryption_builder()
        encryption = openssh.kdf_rounds(1).build(passphrase.encode())
    directory = key.private_bytes(Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption)
    public = key.public_key().public_bytes(Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    with open(path, "xb", opener=partial(os.open, mode=0o600)) as file:
        file.write(directory)
    path.with_name(f"{path.name}.pub").write_text(f"{public.decode()} {path.name}\n")


def public_key(key: Path) -> str:
    """Type and base64 of a key, as in known_hosts."""
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def fingerprint(key: Path) -> str:
    """The fingerprint of a key, as sshd logs it."""
    return run("ssh-keygen", "-l", "-f", key).stdout.split()[1]


def set_env(variables: dict[str, str]) -> str:
    """The option SetEnv of sshd; only one such line has an effect."""
    return "SetEnv " + " ".join(f'"{name}={value}"' for name, value in variables.items())


def known_hosts_line(port: int, public_key: str, host: str = LOOPBACK) -> str:
    """A line of known_hosts for a server on that port."""
    return f"[{host}]:{port} {public_key}"


def site_config(server: Server, *more: str) -> str:
    """An ssh_config that names the server `site`, with more lines for it."""
    lines = (*more, f"HostName {server.address}", f"Port {server.port}")
    return "Host site\n" + "".join(f"    {line}\n" for line in lines)


def terminate_all(processes: Sequence[psutil.Process]) -> None:
    """Terminate the processes, and wait for them."""
    for signal_ in ("terminate", "kill"):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(process, signal_)()
        _, processes = psutil.wait_procs(processes, STOP_TIMEOUT_S)


@cache
def _if_supported(option: str) -> str:
    """The line, if this release of sshd knows the option."""
    result = run(sshd(), "-t", "-f", "/dev/stdin", stdin=option, check=False)
    return "" if "Bad configuration option" in result.stderr else f"{option}\n"
