"""The files that ssh_config(5) names, on this machine."""

import os
import pwd
from pathlib import Path

from notebooks_over_ssh.ssh.tokens import TokenContext, expand_path


def home_matches_passwd() -> bool:
    """Whether HOME is the home directory in passwd(5), which ssh uses."""
    return Path.home() == Path(pwd.getpwuid(os.getuid()).pw_dir)


def agent_socket(value: str, tokens: TokenContext) -> str | None:
    """The path of the agent's socket by IdentityAgent, "none" for no agent; None if the environment names none."""
    if value in ("", "SSH_AUTH_SOCK"):
        return os.environ.get("SSH_AUTH_SOCK")
    if value.startswith("$"):
        return os.environ.get(value[1:].strip("{}"))
    return value if value.lower() == "none" else str(config_path(value, tokens))


def config_path(value: str, tokens: TokenContext) -> Path:
    """The path with tokens and `~` expanded; `~/.ssh` is below HOME, even if passwd(5) has another home."""
    path = Path(os.path.expanduser(expand_path(value.strip('"'), tokens)))
    passwd_home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    if not home_matches_passwd() and path.is_relative_to(passwd_home / ".ssh"):
        return Path.home() / path.relative_to(passwd_home)
    return path
