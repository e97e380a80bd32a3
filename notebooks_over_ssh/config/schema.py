"""The schema of the settings: the name, type, range and default of each."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# No control characters, line separators or lone surrogates: no path or command needs them.
_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
OneLine = Annotated[str, Meta(pattern=_LINE + r"+\Z")]
OneLineOrEmpty = Annotated[str, Meta(pattern=_LINE + r"*\Z")]
Port = Annotated[int, Meta(ge=1, le=65535)]
# Ports below 1024 are reserved for root.
UserPort = Annotated[int, Meta(ge=1024, le=65535)]
Fingerprint = Annotated[str, Meta(pattern=r"^SHA256:[A-Za-z0-9+/]{43}\Z")]
Seconds = Annotated[int, Meta(ge=1, le=3600)]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the scheduler is asked for, by the names of sbatch(1); job.py has what each may be."""

    partition: OneLine | None = None
    account: OneLine | None = None
    qos: OneLine | None = None
    time: OneLine | None = None
    cpus: Annotated[int, Meta(ge=1, le=4096)] | None = None
    memory: OneLine | None = None
    gpus: Annotated[int, Meta(ge=1, le=4096)] | OneLine | None = None
    """The number of GPUs, with their type before a colon if it matters."""
    gres: OneLine | None = None
    constraint: OneLine | None = None
    reservation: OneLine | None = None
    sbatch_arguments: list[OneLine] = []
    """Further arguments for sbatch, of those that do not undo what the server needs."""
    renew: bool = False
    """Whether the tunnel submits another job when the cluster has ended this one."""


class Notebook(msgspec.Struct, frozen=True, kw_only=True):
    """The Jupyter server, its environment and its tunnel."""

    host: OneLine = "student.compute"
    environment: OneLine = "mlp"
    """A Conda environment by name; `uv` or `poetry` for that of the project in `directory`; with a slash, a path.

    `modules` is the Python that `modules` provide.
    """
    modules: list[OneLine] = []
    """The modules of Lmod or Environment Modules to load first, in this order."""
    activate: OneLineOrEmpty = ""
    """A shell command that prepares the environment; unless empty, it replaces `environment`."""
    directory: OneLine = "~/mlpractical"
    application: Literal["notebook", "lab", "server"] = "notebook"
    prefix: list[OneLine] = []
    """A program of the host that runs Jupyter, and its arguments, such as krenew -K 60 --, which renews a ticket."""
    arguments: list[OneLine] = []
    """Additional command-line arguments for Jupyter, such as --ServerApp.terminals_enabled=False."""
    launcher: Literal["host", "slurm"] | None = None
    """What runs the server: the host itself, or a job of the cluster whose login node the host is.

    None is that of the session on record, else the host, unless it seems to be a login node and the user then declines.
    """
    job: Job = Job()
    node_access: Literal["auto", "ssh", "sshd", "srun"] = "auto"
    """How the node of a job is reached: its own SSH server, one in a step of the job, or programs in steps."""
    # nice(1); at least 10, because the hosts are shared.
    nice: Annotated[int, Meta(ge=10, le=19)] = 19
    remote_port: UserPort = 8888
    """The first port that the server tries."""
    local_port: UserPort | None = None
    """None for the first free port from 8888 on."""
    forward: list[UserPort] = []
    """Additional ports of the host to forward, such as that of a dashboard."""
    plain: bool = False
    """Whether the tunnel also listens without TLS, with a token, for editors that refuse the certificate."""
    open_browser: bool = True
    open: OneLineOrEmpty = ""
    """The file or folder below `directory` that the browser opens; empty for the application's start page."""
    trust: bool = False
    """Whether `up` and `tunnel` add the session's certificate to the browsers' trust stores."""
    on_exit: Literal["ask", "stop", "keep"] = "ask"
    login_lifetime: Annotated[int, Meta(ge=0, le=7 * 24 * 3600)] = 600
    """How long a login is kept without a tunnel, in seconds since its last use; 0 ends it with the tunnel."""
    start_timeout_s: Annotated[int, Meta(ge=5, le=3600)] = 60
    stop_timeout_s: Seconds = 20
    renew_days: Annotated[int, Meta(ge=1, le=364)] = 30
    """A certificate that expires within this many days is renewed."""
    site: OneLine | None = None
    """The site whose file counts: a name in `sites`, or the path of a file."""
    sites: dict[OneLine, OneLine] = {}
    """The path of each site's file, by the name of the site."""


class SSH(msgspec.Struct, frozen=True, kw_only=True):
    """Host keys and passwords, beyond Fabric's settings and ssh_config(5)."""

    host_keys: dict[str, list[Fingerprint]] = {}
    """The only host keys to accept, by the name of a gateway or host."""
    password_for_next_hop: bool = False
    """Whether to offer a password to later hops with the same user too."""
    keyring: bool = False
    """Whether to store passwords in this machine's keyring."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Fabric's `timeouts`, in seconds."""

    connect: Seconds = 10


class ConnectKwargs(msgspec.Struct, frozen=True, kw_only=True):
    """The supported arguments of Paramiko's `SSHClient.connect`."""

    # Not OneLine | list[OneLine]: msgspec 0.22.0 corrupts memory for a union of a list and a str with a pattern.
    key_filename: str | list[OneLine] | None = None
    allow_agent: bool = True
    look_for_keys: bool = True
    compress: bool = False
    timeout: Seconds = 10
    auth_timeout: Seconds | None = None
    disabled_algorithms: dict[Literal["ciphers", "macs", "keys", "pubkeys", "kex"], list[OneLine]] | None = (
        None
    )


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a layer; those after `notebook` are Invoke's, and are not used here."""

    gateway: OneLine | None = "sandbox"
    user: OneLine | None = None
    port: Port | None = None
    connect_kwargs: ConnectKwargs = ConnectKwargs()
    timeouts: Timeouts = Timeouts()
    ssh_config_path: OneLine | None = None
    load_ssh_configs: bool = True
    ssh: SSH = SSH()
    notebook: Notebook = Notebook()

    authentication: dict[str, Any] = {}
    run: dict[str, Any] = {}
    runners: dict[str, Any] = {}
    sudo: dict[str, Any] = {}
    tasks: dict[str, Any] = {}
    debug: bool = False


NOT_SUPPORTED: dict[str, tuple[Any, str]] = {
    "forward_agent": (False, "log in from the host with a key of its own"),
    "inline_ssh_env": (True, "set environment variables with notebook.activate"),
    "timeouts.command": (
        None,
        "use timeouts.connect, notebook.start_timeout_s or notebook.stop_timeout_s",
    ),
    "connect_kwargs.banner_timeout": (None, "use timeouts.connect"),
    "connect_kwargs.channel_timeout": (None, "use timeouts.connect"),
}
"""Settings of Fabric and Paramiko that have no effect here: the default, which is allowed, and a hint."""
