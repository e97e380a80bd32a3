"""The traits of Jupyter's configuration that matter for the protection of the server, and the rules for each.

Three places apply these rules. The check of notebook.arguments, on the user's machine, refuses every trait named here.
`start_server` passes the enforced ones to Jupyter on its command line. `insecure_settings` looks for unsafe values in
Jupyter's configuration files.

Imported on the user's machine, and sent to the host, where it runs with whatever Python is there: nothing newer than
3.6, nothing outside the standard library.
"""

from typing import Any, NamedTuple

COMPUTED = object()  # in the column `enforced`: start_server computes the value

LOOPBACK = ("localhost", "127.0.0.1", "::1")
APPLICATION = r"\w*App"
KERNEL = r"\w*KernelManager|ConnectionFileMixin"

_READABLE = "a secret in an argument can be read by all on the host"
_PROTECTION = "the protection of the server depends on it"
_LOOPBACK_ONLY = "the server listens on loopback only"
_OTHER_CONFIG = "another configuration has another password"
_RUNTIME = "the runtime files are in a folder that only you can read"
_NO_SERVER = "it starts no server"

_WEB_SITES = "other web sites could use the server; now none can"
_LOGIN = "it set another password; now only the one from secure is accepted"
_CERTIFICATE = "it named another certificate; now only the one from secure is used"


class Trait(NamedTuple):
    """The rules for one trait, whatever class it is set on."""

    refusal: str
    """Why notebook.arguments may not set it."""
    command: str = ""
    """The command that sets it instead."""
    enforced: Any = None
    """The value that the command line of the server gives it, in the class of the application; None: none."""
    safe: Any = None
    """The values that are safe in a configuration file, or the name of the expected value; None: all are."""
    classes: str = APPLICATION
    """The classes on which other values than `safe` are insecure, as a regular expression."""
    effect: str = ""
    """For the user: the effect of an insecure value, and the state after `secure` has removed it."""

    @property
    def is_secret(self) -> bool:
        """Whether its value must not be shown, or be readable by others."""
        return self.refusal == _READABLE


TRAITS = {
    "ip": Trait(
        _LOOPBACK_ONLY,
        enforced="127.0.0.1",
        safe=LOOPBACK,
        classes=APPLICATION + "|" + KERNEL,
        effect="the server, or its kernels, could be reached from other machines; now only on loopback",
    ),
    "sock": Trait(
        _LOOPBACK_ONLY, safe=("",), effect="the server listened on another socket; now only on loopback"
    ),
    "sock_mode": Trait(_LOOPBACK_ONLY),
    "port": Trait("notebook.remote_port sets it", enforced=COMPUTED),
    "port_retries": Trait("notebook.remote_port sets the first port to try", enforced=100),
    "root_dir": Trait("notebook.directory sets it"),
    "notebook_dir": Trait("notebook.directory sets it"),
    "open_browser": Trait("the browser is on your own machine: notebook.open_browser"),
    "base_url": Trait("the tunnel forwards to /", enforced="/"),
    "token": Trait(
        _READABLE,
        safe=(),
        classes=APPLICATION + r"|\w*IdentityProvider",
        effect="it fixed the token; now there is a new one at each start, in a private file",
    ),
    "password": Trait(_READABLE, command="secure", safe="password", effect=_LOGIN),
    "hashed_password": Trait(
        _READABLE, command="secure", safe="password", classes=r"\w*IdentityProvider", effect=_LOGIN
    ),
    # Without a key, or with one that others can read, anybody on the host can send messages to the kernels.
    "key": Trait(
        _READABLE,
        safe=(),
        classes="Session",
        effect="it fixed the key that signs messages to kernels; now each kernel has its own",
    ),
    "cookie_secret": Trait(_READABLE),
    "cookie_secret_file": Trait(_PROTECTION),
    "certfile": Trait(
        _PROTECTION,
        command="secure --certificate FILE --key FILE",
        enforced=COMPUTED,
        safe="certfile",
        effect=_CERTIFICATE,
    ),
    "keyfile": Trait(
        _PROTECTION,
        command="secure --certificate FILE --key FILE",
        enforced=COMPUTED,
        safe="keyfile",
        effect=_CERTIFICATE,
    ),
    "client_ca": Trait(_PROTECTION, enforced=""),
    "ssl_options": Trait(
        _PROTECTION,
        enforced=COMPUTED,
        safe=({},),
        effect="it chose the versions and ciphers of TLS; now it is TLS 1.2 or later",
    ),
    "allow_remote_access": Trait(
        _PROTECTION,
        enforced=False,
        safe=(False,),
        effect="the server answered under any host name; now only as localhost",
    ),
    "allow_origin": Trait(_PROTECTION, enforced="", safe=("",), effect=_WEB_SITES),
    "allow_origin_pat": Trait(_PROTECTION, enforced="", safe=("",), effect=_WEB_SITES),
    "allow_credentials": Trait(_PROTECTION, enforced=False, safe=(False,), effect=_WEB_SITES),
    "disable_check_xsrf": Trait(_PROTECTION, enforced=False, safe=(False,), effect=_WEB_SITES),
    "allow_root": Trait("it is set where it is needed"),
    "password_required": Trait(_PROTECTION),
    "allow_password_change": Trait(_PROTECTION),
    "allow_unauthenticated_access": Trait(_PROTECTION),
    "local_hostnames": Trait(_PROTECTION),
    "trust_xheaders": Trait(_PROTECTION),
    "tornado_settings": Trait(_PROTECTION),
    "webapp_settings": Trait(_PROTECTION),
    "cookie_options": Trait(_PROTECTION),
    "get_secure_cookie_kwargs": Trait(_PROTECTION),
    "identity_provider_class": Trait(_PROTECTION),
    "authorizer_class": Trait(_PROTECTION),
    "login_handler_class": Trait(_PROTECTION),
    "logout_handler_class": Trait(_PROTECTION),
    "need_token": Trait(_PROTECTION),
    "websocket_url": Trait("the tunnel forwards to the server itself"),
    "custom_display_url": Trait("the tunnel has its own address"),
    "config_file": Trait(_OTHER_CONFIG),
    "config_file_name": Trait(_OTHER_CONFIG),
    "config_dir": Trait(_OTHER_CONFIG),
    "runtime_dir": Trait(_RUNTIME),
    "connection_file": Trait(_RUNTIME),
    "connection_dir": Trait(_RUNTIME),
    "transport": Trait("kernels listen on loopback only"),
    "generate_config": Trait(_NO_SERVER),
    "show_config": Trait(_NO_SERVER),
    "show_config_json": Trait(_NO_SERVER),
}
