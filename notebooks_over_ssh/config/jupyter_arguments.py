"""More arguments for Jupyter, each judged by what it would do to the protection of the server."""

import re

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.util.command_hint import command

_ARGUMENT_PATTERN = re.compile(r"--([A-Za-z][\w-]*(?:\.[A-Za-z]\w*)?)(?:=.*)?", re.DOTALL)
_PROTECTION = "the server's protection rests on it"
# By trait, why it may not be set; and the short names that Jupyter has for it (`jupyter server --help-all`).
_RESERVED_TRAITS = {
    "ip": "the server listens on loopback alone",
    "sock": "the server listens on loopback alone",
    "sock_mode": "the server listens on loopback alone",
    "port": "notebook.remote_port sets it",
    "port_retries": "notebook.remote_port sets where it begins",
    "root_dir": "notebook.directory sets it",
    "notebook_dir": "notebook.directory sets it",
    "open_browser": "the browser is on your own machine: notebook.open_browser",
    "base_url": "the tunnel leads to /",
    "token": "a secret in an argument can be read by all on the host",
    "password": "a secret in an argument can be read by all on the host",
    "hashed_password": "a secret in an argument can be read by all on the host",
    "key": "a secret in an argument can be read by all on the host",
    "certfile": _PROTECTION,
    "keyfile": _PROTECTION,
    "client_ca": _PROTECTION,
    "ssl_options": _PROTECTION,
    "password_required": _PROTECTION,
    "allow_password_change": _PROTECTION,
    "allow_remote_access": _PROTECTION,
    "allow_origin": _PROTECTION,
    "allow_origin_pat": _PROTECTION,
    "allow_credentials": _PROTECTION,
    "allow_root": "it is set where it must be",
    "allow_unauthenticated_access": _PROTECTION,
    "local_hostnames": _PROTECTION,
    "disable_check_xsrf": _PROTECTION,
    "trust_xheaders": _PROTECTION,
    "tornado_settings": _PROTECTION,
    "webapp_settings": _PROTECTION,
    "cookie_secret": "a secret in an argument can be read by all on the host",
    "cookie_secret_file": _PROTECTION,
    "cookie_options": _PROTECTION,
    "get_secure_cookie_kwargs": _PROTECTION,
    "identity_provider_class": _PROTECTION,
    "authorizer_class": _PROTECTION,
    "login_handler_class": _PROTECTION,
    "logout_handler_class": _PROTECTION,
    "need_token": _PROTECTION,
    "websocket_url": "the tunnel leads to the server itself",
    "custom_display_url": "the tunnel has its own address",
    "config_file": "another configuration has another password",
    "config_file_name": "another configuration has another password",
    "config_dir": "another configuration has another password",
    "runtime_dir": "the runtime files are where only you can read them",
    "connection_file": "the runtime files are where only you can read them",
    "connection_dir": "the runtime files are where only you can read them",
    "transport": "kernels listen on loopback alone",
    "generate_config": "it starts no server",
    "show_config": "it starts no server",
    "show_config_json": "it starts no server",
}
# The command that sets what an argument may not.
_COMMANDS = {
    "password": "secure",
    "hashed_password": "secure",
    "certfile": "secure --certificate FILE --key FILE",
    "keyfile": "secure --certificate FILE --key FILE",
}
# Jupyter's own short spellings of these, where they are not the trait's name with dashes.
_ALIASES = {
    "config": "config_file",
    "notebook-dir": "root_dir",
    "browser": "open_browser",
    "no-browser": "open_browser",
}
# The short spellings that do no harm. Others may be any trait's, or the beginning of one, which argparse completes.
_ALLOWED_ALIASES = frozenset(
    {
        "debug",
        "log-level",
        "preferred-dir",
        "no-mathjax",
        "autoreload",
        "app-dir",
        "collaborative",
        "core-mode",
    }
    | {"dev-mode", "watch", "splice-source", "skip-dev-build", "custom-css", "no-custom-css"}
    | {"expose-app-in-browser", "extensions-in-dev-mode"}
)


def check_arguments(arguments: list[str], name: str) -> None:
    """See that each is a flag that leaves the protection of the server alone; `name` is how messages call the setting.

    A trait is refused in every spelling: --ServerApp.ip, --NotebookApp.ip, --ip. Raises ConfigError.
    """
    for argument in arguments:
        match = _ARGUMENT_PATTERN.fullmatch(argument)
        if match is None:
            raise ConfigError(
                f"{name} has {argument[:60]!r}, which is no argument",
                hint="write each in one piece, as in --ServerApp.terminals_enabled=False",
            )
        class_, dot, trait = match[1].rpartition(".")
        trait = trait if dot else _ALIASES.get(trait, trait.replace("-", "_"))
        if trait in _RESERVED_TRAITS:
            instead = f"; {command(_COMMANDS[trait])} sets it" if trait in _COMMANDS else ""
            raise ConfigError(
                f"{name} has --{match[1]}, which cannot be set there: {_RESERVED_TRAITS[trait]}",
                hint=f"take it out{instead}",
            )
        if not class_ and match[1] not in _ALLOWED_ALIASES:
            raise ConfigError(
                f"{name} has --{match[1]}, a short form that is not known here",
                hint="write it in full, as in --ServerApp.terminals_enabled=False",
            )
