"""Every setting there is: its name, type, range and built-in value, written here and nowhere else."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# Without control characters, line separators and halves of characters: no path or command has them.
_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
OneLine = Annotated[str, Meta(pattern=_LINE + r"+\Z")]
OneLineOrEmpty = Annotated[str, Meta(pattern=_LINE + r"*\Z")]
Port = Annotated[int, Meta(ge=1, le=65535)]
# Below 1024 only root may listen.
UserPort = Annotated[int, Meta(ge=1024, le=65535)]
Fingerprint = Annotated[str, Meta(pattern=r"^SHA256:[A-Za-z0-9+/]{43}\Z")]
Seconds = Annotated[int, Meta(ge=1, le=3600)]


class Notebook(msgspec.Struct, frozen=True, kw_only=True):
    """The Jupyter server: where it runs, in what environment, and how it is reached. Times in seconds."""

    host: OneLine = "student.compute"
    environment: OneLine = "mlp"
    """The name of a Conda environment; with a slash or a tilde, the path of one or of a venv."""
    activate: OneLineOrEmpty = ""
    """A shell command that prepares the environment, used in place of `environment` when it is not empty."""
    directory: OneLine = "~/mlpractical"
    application: Literal["notebook", "lab", "server"] = "notebook"
    arguments: list[OneLine] = []
    """More arguments for Jupyter, each as on its command line: --ServerApp.terminals_enabled=False."""
    # Others use the hosts too: 10 is the least that is polite, 19 the most there is (nice(1)).
    nice: Annotated[int, Meta(ge=10, le=19)] = 19
    remote_port: UserPort = 8888
    """Where the server starts to look for a free port."""
    local_port: UserPort | None = None
    """None: the first free one from 8888 on."""
    forward: list[UserPort] = []
    """Further ports of the host that the tunnel leads to, of a dashboard that a notebook starts."""
    open_browser: bool = True
    open: OneLineOrEmpty = ""
    """The notebook or folder below `directory` that the browser opens on; empty: the application's first page."""
    trust: bool = False
    """Whether `up` and `tunnel` have this user's browsers trust the session's certificate."""
    on_exit: Literal["ask", "stop", "keep"] = "ask"
    start_timeout_s: Annotated[int, Meta(ge=5, le=3600)] = 60
    stop_timeout_s: Seconds = 20
    renew_days: Annotated[int, Meta(ge=1, le=364)] = 30
    """A certificate that ends sooner than this is renewed."""


class SSH(msgspec.Struct, frozen=True, kw_only=True):
    """How hops are checked and logged in to, beyond what Fabric's settings and ssh_config(5) have."""

    host_keys: dict[str, list[Fingerprint]] = {}
    """By the name of a gateway or host, the only host keys that are good for it: what a site can hand out."""
    password_for_next_hop: bool = False
    """Whether a password is offered to the next hop too, when the user is the same there."""
    keyring: bool = False
    """Whether passwords are kept in the keyring of this machine."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Fabric's `timeouts`, in seconds."""

    connect: Seconds = 10


class ConnectKwargs(msgspec.Struct, frozen=True, kw_only=True):
    """What may stand under `connect_kwargs`: arguments of Paramiko's `SSHClient.connect`.

    Left out are those that have settings of their own (hostname, username, port, sock), and objects.
    """

    # Not Line | list[Line]: msgspec 0.22.0 corrupts memory over a union of a text with a pattern and a list.
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
    """Everything that a layer may say; each field without a check of its own belongs to Fabric or Invoke."""

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
    "forward_agent": (False, "no key of yours is lent to a host: log in from there with one of its own"),
    "inline_ssh_env": (True, "no variable is sent to a host: set it with notebook.activate"),
    "timeouts.command": (
        None,
        "the limits are timeouts.connect, notebook.start_timeout_s and notebook.stop_timeout_s",
    ),
    "connect_kwargs.password": (None, "leave it out: you are asked when a hop wants a password"),
    "connect_kwargs.passphrase": (None, "leave it out: you are asked when a key has a passphrase"),
    "connect_kwargs.banner_timeout": (None, "timeouts.connect is the limit for it"),
    "connect_kwargs.channel_timeout": (None, "timeouts.connect is the limit for it"),
}
"""Settings of Fabric and Paramiko that would have no effect here: their default, which is let through, and a hint."""
