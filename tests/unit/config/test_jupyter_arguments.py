"""Additional arguments for Jupyter are passed on, unless they would weaken the server's protection."""

import pytest

from notebooks_over_ssh.config.jupyter_arguments import check_arguments
from notebooks_over_ssh.errors import ConfigError

NAME = "notebook.arguments in invoke.yaml"
UNDOING = (
    "ip",
    "port",
    "sock",
    "allow_remote_access",
    "allow_origin",
    "allow_origin_pat",
    "disable_check_xsrf",
    "password",
    "token",
    "certfile",
    "keyfile",
    "ssl_options",
    "allow_root",
    "identity_provider_class",
    "tornado_settings",
    "config_file",
)


@pytest.mark.parametrize("trait", UNDOING)
@pytest.mark.parametrize("form", ["--ServerApp.{}=x", "--NotebookApp.{}=x", "--LabApp.{}", "--{}=x", "--{}"])
def test_protected_traits(trait: str, form: str) -> None:
    """A protected trait is refused by its name in every spelling: with a class, alone, and with a value or none."""
    argument = form.format(trait if "." in form else trait.replace("_", "-"))
    with pytest.raises(ConfigError, match=argument.partition("=")[0]):
        check_arguments(["--debug", argument], NAME)


@pytest.mark.parametrize(
    "argument",
    [
        *["--config=/tmp/x.py", "--notebook-dir=/", "--no-browser", "--help", "--generate-config"],
        *["--IdentityProvider.token=x", "--PasswordIdentityProvider.hashed_password=", "--Session.key="],
        *[
            "--KernelManager.ip=0.0.0.0",
            "--MultiKernelManager.connection_dir=/tmp",
            "--KernelManager.transport=ipc",
        ],
        # argparse accepts unique prefixes.
        *["--i=0.0.0.0", "--certfil=x", "--allow-r"],
        *["-y", "list", "stop", "0.0.0.0", "--", "", "--ServerApp.ip 0.0.0.0", "--a.b.c=1", "--ServerApp=1"],
    ],
)
def test_other_spellings(argument: str) -> None:
    """Aliases, prefixes, other classes, subcommands and positional arguments are refused too."""
    with pytest.raises(ConfigError) as problem:
        check_arguments([argument], NAME)
    assert NAME in str(problem.value)
    assert problem.value.hint


@pytest.mark.parametrize(
    "argument",
    [
        *["--debug", "--log-level=DEBUG", "--collaborative", "--ServerApp.terminals_enabled=False"],
        *["--ServerApp.shutdown_no_activity_timeout=3600", "--MappingKernelManager.cull_idle_timeout=600"],
        *["--NotebookApp.iopub_data_rate_limit=1e10", "--LabApp.default_url=/lab/tree/a b.ipynb"],
    ],
)
def test_harmless_arguments(argument: str) -> None:
    """Other arguments are accepted, with any value."""
    check_arguments([argument], NAME)
