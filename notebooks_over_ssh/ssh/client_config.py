"""The user's OpenSSH client configuration for a host (ssh_config(5)).

`ssh -G` prints it after evaluating Include, Match and the tokens in host names. If there is no `ssh`, Paramiko's parser
reads the files; it does not support Include and `Match exec`.
"""

import getpass
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from notebooks_over_ssh.config.settings import SSH_PORT, Destination, Settings
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.ssh.client_options import FORMER_NAMES, check_options
from notebooks_over_ssh.ssh.config_paths import agent_socket, config_path, home_matches_passwd
from notebooks_over_ssh.ssh.gssapi_context import GSSAPIOptions
from notebooks_over_ssh.ssh.known_hosts import KnownHostsCommand
from notebooks_over_ssh.ssh.newer_algorithms import add_newer_kex
from notebooks_over_ssh.ssh.tokens import TokenContext

READ_TIMEOUT_S = 30  # `Match exec` may run any program
SYSTEM_FILE = Path("/etc/ssh/ssh_config")
# Paramiko's name for the algorithms that each option limits.
ALGORITHM_OPTIONS = {
    "ciphers": "ciphers",
    "macs": "macs",
    "kexalgorithms": "kex",
    "hostkeyalgorithms": "keys",
    "pubkeyacceptedalgorithms": "pubkeys",
}
LOGIN_METHODS = {
    "publickey": "pubkeyauthentication",
    "keyboard-interactive": "kbdinteractiveauthentication",
    "password": "passwordauthentication",
}
DEFAULT_RSA_BITS = 1024  # the default of RequiredRSASize
QUIET_LEVELS = ("SILENT", "QUIET", "FATAL", "ERROR")  # values of LogLevel
FILE_OPTIONS = ("userknownhostsfile", "globalknownhostsfile")


@dataclass(frozen=True)
class HopConfig:
    """The options that apply to one hop; None if not set."""

    host: str
    user: str
    port: int
    proxy_jump: str | None = None
    proxy_command: str | None = None
    control_path: Path | None = None
    """The socket of a ControlMaster, whose login is used; None if it must ask the user for each use."""
    identity_files: tuple[Path, ...] = ()
    certificate_files: tuple[Path, ...] = ()
    identities_only: bool = False
    security_key_provider: str = "internal"
    pkcs11_provider: str | None = None
    """Each provider is a library, or a variable that names it; "internal" is in OpenSSH."""
    agent: str | None = None
    """The path of the agent's socket, or "none"."""
    host_key_alias: str | None = None
    known_hosts: tuple[Path, ...] = ()
    """UserKnownHostsFile. Keys that the user accepts are added to the first."""
    global_known_hosts: tuple[Path, ...] = ()
    known_hosts_command: KnownHostsCommand | None = None
    revoked_host_keys: Path | None = None
    ca_signature_algorithms: tuple[str, ...] = ()
    """The signature algorithms allowed in host certificates; empty allows all but those with SHA-1."""
    required_rsa_size: int = DEFAULT_RSA_BITS
    """The minimum size of an RSA key, in bits."""
    algorithms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The algorithms that may be negotiated, by a value of ALGORITHM_OPTIONS; a missing one is not limited."""
    may_prompt: bool = True
    """Whether the user may be prompted; False with `BatchMode yes`."""
    login_methods: tuple[str, ...] = tuple(LOGIN_METHODS)
    gssapi: GSSAPIOptions | None = None
    """None without `GSSAPIAuthentication yes`."""
    password_prompts: int = 3
    ask_unknown_host_keys: bool = True
    """Whether the user may accept an unknown host key; False with `StrictHostKeyChecking yes`."""
    hash_known_hosts: bool = False
    shows_banner: bool = True
    """Whether to show the server's banner; False with a LogLevel below INFO."""
    check_host_ip: bool = False
    """Whether to compare the host key with the one of the hop's address too (CheckHostIP)."""
    rekey_limit: tuple[int, int] = (0, 0)
    """The bytes and seconds after which to rekey; 0 for the default."""
    connect_timeout_s: int | None = None
    alive_interval_s: int = 0


def lookup(destination: Destination, settings: Settings, *, port: int | None) -> HopConfig:
    """The options for the hop. `port` applies if the destination has none.

    Raises ConfigError if the configuration cannot be read or has an option that is not supported.
    """
    user = destination.user or settings.user
    port = destination.port or port
    if shutil.which("ssh"):
        options = _query_ssh(destination.host, user, port, settings)
    else:
        options = _query_paramiko(destination.host, settings)
        options["user"] = [user] if user else options.get("user", [])
        options["port"] = [str(port)] if port else options.get("port", [])
    return _hop_config(destination.host, options)


def _query_ssh(host: str, user: str | None, port: int | None, settings: Settings) -> dict[str, list[str]]:
    command = ["ssh", "-G"]
    if user:
        command += ["-l", user]
    if port:
        command += ["-p", str(port)]
    result = subprocess.run(
        [*command, *_file_arguments(settings), host],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=READ_TIMEOUT_S,
        check=False,
    )
    if result.returncode:
        raise ConfigError(
            f"ssh cannot read its configuration for {host}",
            hint=f"run it yourself: ssh -G {host}",
            detail=tuple(result.stderr.splitlines()[-5:]),
        )
    options: dict[str, list[str]] = {}
    for line in result.stdout.split("\n"):
        keyword, _, value = line.partition(" ")
        options.setdefault(keyword.lower(), []).append(value)
    for option in FILE_OPTIONS:
        options[option] = _printed_files(option, options.get(option, ["none"])[0])
    options["kexalgorithms"] = [add_newer_kex(value) for value in options.get("kexalgorithms", [])]
    return {FORMER_NAMES.get(keyword, keyword): values for keyword, values in options.items()}


def _printed_files(option: str, value: str) -> list[str]:
    """Split the paths that ssh prints with spaces between them, although it does not quote a space in a path.

    Raises ConfigError if that is ambiguous.
    """
    files = re.split(" (?=/)", value)
    for file in files:
        if " " in file and any(Path(word).exists() for word in file.split(" ")[1:]):
            raise ConfigError(
                f"{option} in ssh's configuration is ambiguous: {value}",
                hint="use absolute paths without spaces",
            )
    return files


def _file_arguments(settings: Settings) -> list[str]:
    if not settings.load_ssh_configs:
        return ["-F", "none"]
    if settings.ssh_config_path:
        return ["-F", os.path.expanduser(settings.ssh_config_path)]
    if home_matches_passwd():
        return []
    # ssh finds the home directory in passwd(5) and ignores HOME, which everything else here uses.
    user_file = Path.home() / ".ssh" / "config"
    return ["-F", str(user_file) if user_file.exists() else "none"]


class _RawSSHConfig(paramiko.SSHConfig):
    """Paramiko's parser, without its token expansion, which differs from ssh's, except in HostName and `Match exec`."""

    TOKENS_BY_CONFIG_KEY = {  # noqa: RUF012 # overrides Paramiko's, which is a dict too
        "hostname": ["%h"],
        "match-exec": ["%C", "%d", "%h", "%L", "%l", "%n", "%p", "%r", "%u"],
    }


def _query_paramiko(host: str, settings: Settings) -> dict[str, list[str]]:
    config_paths = (
        [Path(settings.ssh_config_path)]
        if settings.ssh_config_path
        else [Path.home() / ".ssh/config", SYSTEM_FILE]
    )
    config = _RawSSHConfig()
    for path in config_paths if settings.load_ssh_configs else []:
        if path.expanduser().exists():
            with path.expanduser().open() as file:
                config.parse(file)
    try:
        values = config.lookup(host)
    except (KeyError, paramiko.SSHException) as error:
        raise ConfigError(
            f"ssh's configuration for {host} cannot be read without ssh: {error}",
            hint="install OpenSSH's client",
        ) from error
    options = {key: value if isinstance(value, list) else [value] for key, value in values.items()}
    for option in (*ALGORITHM_OPTIONS, "casignaturealgorithms", "rekeylimit"):
        if option in options:
            raise ConfigError(
                f"ssh's configuration for {host} sets {option}, which only ssh can evaluate",
                hint="install OpenSSH's client",
            )
    options.setdefault("userknownhostsfile", ["~/.ssh/known_hosts ~/.ssh/known_hosts2"])
    options.setdefault("globalknownhostsfile", ["/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"])
    for option in FILE_OPTIONS:
        options[option] = shlex.split(options[option][0])
    options.setdefault("identityfile", ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"])
    return options


def _hop_config(original_host: str, options: Mapping[str, list[str]]) -> HopConfig:
    check_options(options, original_host)

    def get(keyword: str) -> str | None:
        values = options.get(keyword) or ["none"]
        return None if values[0].lower() == "none" else values[0]

    def get_int(keyword: str) -> int | None:
        value = get(keyword)
        return int(value) if value and value.isdigit() else None

    host = get("hostname") or original_host
    user = get("user") or getpass.getuser()
    port = get_int("port") or SSH_PORT
    alias, jump = get("hostkeyalias"), get("proxyjump")
    tokens = TokenContext(
        original_host=original_host, host=host, port=port, user=user, alias=alias or "", jump=jump or ""
    )

    def get_paths(keyword: str) -> tuple[Path, ...]:
        return tuple(
            config_path(value, tokens) for value in options.get(keyword, []) if value.lower() != "none"
        )

    def get_list(keyword: str) -> tuple[str, ...]:
        return tuple((get(keyword) or "").split(",")) if get(keyword) else ()

    preferred = get_list("preferredauthentications") or tuple(LOGIN_METHODS)
    methods = [method for method in LOGIN_METHODS if method in preferred]
    known_hosts_command = get("knownhostscommand")
    batch_mode = get("batchmode") in ("yes", "true")
    return HopConfig(
        host=host,
        user=user,
        port=port,
        proxy_jump=jump,
        proxy_command=get("proxycommand"),
        control_path=next(
            iter(get_paths("controlpath") if "ask" not in (get("controlmaster") or "") else ()), None
        ),
        identity_files=get_paths("identityfile"),
        certificate_files=get_paths("certificatefile"),
        identities_only=get("identitiesonly") == "yes",
        pkcs11_provider=get("pkcs11provider"),
        security_key_provider=get("securitykeyprovider") or "internal",
        agent=agent_socket(options.get("identityagent", [""])[0], tokens),
        host_key_alias=alias,
        known_hosts=get_paths("userknownhostsfile"),
        global_known_hosts=get_paths("globalknownhostsfile"),
        known_hosts_command=KnownHostsCommand(known_hosts_command, tokens) if known_hosts_command else None,
        revoked_host_keys=next(iter(get_paths("revokedhostkeys")), None),
        ca_signature_algorithms=get_list("casignaturealgorithms"),
        required_rsa_size=get_int("requiredrsasize") or DEFAULT_RSA_BITS,
        algorithms={name: get_list(option) for option, name in ALGORITHM_OPTIONS.items() if get_list(option)},
        may_prompt=not batch_mode,
        login_methods=tuple(name for name in methods if get(LOGIN_METHODS[name]) not in ("no", "false")),
        gssapi=GSSAPIOptions.parse(get),
        password_prompts=get_int("numberofpasswordprompts") or 3,
        ask_unknown_host_keys=not batch_mode and get("stricthostkeychecking") not in ("yes", "true"),
        hash_known_hosts=get("hashknownhosts") == "yes",
        check_host_ip=get("checkhostip") in ("yes", "true"),
        rekey_limit=_rekey_limit(get("rekeylimit") or "0 0"),
        shows_banner=(get("loglevel") or "INFO").upper() not in QUIET_LEVELS,
        connect_timeout_s=get_int("connecttimeout"),
        alive_interval_s=get_int("serveraliveinterval") or 0,
    )


def _rekey_limit(value: str) -> tuple[int, int]:
    """Parse the value that `ssh -G` prints: bytes and seconds."""
    size, _, seconds = value.partition(" ")
    return int(size), int(seconds or 0)
