"""How this package was installed."""

import importlib.metadata
import importlib.util
import json
import shlex
import sys
from pathlib import Path

NAME = "notebooks-over-ssh"
_ROOT = Path(__file__).resolve().parents[2]


def sandbox_command() -> str:
    """The command that adds the sandbox to this installation, as it is to be typed into a shell."""
    if (_ROOT / "pyproject.toml").exists():
        return "uv sync"
    requirement = shlex.quote(_requirement("sandbox"))
    prefix = Path(sys.prefix)
    if (prefix / "uv-receipt.toml").exists():
        return f"uv tool install {requirement}"
    if (prefix / "pipx_metadata.json").exists():
        return f"pipx install --force {requirement}"
    if "archive-v0" in prefix.parts:  # a folder of uv's cache
        return f"uvx --from {requirement} notebooks"
    python = shlex.quote(sys.executable)
    if importlib.util.find_spec("pip"):
        return f"{python} -m pip install {requirement}"
    return f"uv pip install --python {python} {requirement}"


def _requirement(extra: str) -> str:
    """This package with an extra, from where it was installed (PEP 508, PEP 610)."""
    recorded = importlib.metadata.distribution(NAME).read_text("direct_url.json")
    if recorded is None:
        return f"{NAME}[{extra}]"
    origin = json.loads(recorded)
    url = origin["url"]
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return f"{NAME}[{extra}] @ {url}"
