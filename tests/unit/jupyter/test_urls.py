"""The URL that the browser opens, whatever the name of a folder or file."""

from pathlib import Path

import pytest
from invoke.context import Context

from notebooks_over_ssh.config import settings
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.jupyter import urls as pages
from notebooks_over_ssh.jupyter.session import Tunnel
from tests.kit.sessions import make_session

TUNNEL = Tunnel(pid=1, local_port=8888, remote_port=8889, state="open")


@pytest.mark.parametrize(
    ("application", "path", "page"),
    [
        ("notebook", "", ""),
        ("notebook", "plots.ipynb", "notebooks/plots.ipynb"),
        ("notebook", "./week1//plots.ipynb", "notebooks/week1/plots.ipynb"),
        ("notebook", "week1", "tree/week1"),
        ("notebook", "week1/", "tree/week1"),
        ("notebook", "model.py", "tree/model.py"),
        ("notebook", "a b&c?d#e%2e;f.ipynb", "notebooks/a%20b%26c%3Fd%23e%252e%3Bf.ipynb"),
        ("notebook", "Größe/ä.ipynb", "notebooks/Gr%C3%B6%C3%9Fe/%C3%A4.ipynb"),
        ("notebook", "@evil.example:80/x", "tree/%40evil.example%3A80/x"),
        ("notebook", "javascript:alert(1)", "tree/javascript%3Aalert%281%29"),
        ("notebook", "a\\..\\b", "tree/a%5C..%5Cb"),
        ("lab", "", ""),
        ("lab", "plots.ipynb", "lab/tree/plots.ipynb"),
        ("lab", "week1", "lab/tree/week1"),
        ("server", "plots.ipynb", ""),
    ],
)
def test_page(application: str, path: str, page: str) -> None:
    """Every application has its own URL for a notebook and a folder, and each name in the path is one path segment."""
    url = pages.build_url(path, make_session(application=application), TUNNEL)
    assert url == f"https://localhost:8888/{page}"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "~/x", "~me", "..", "../x", "a/../../x", "a/..", "//evil.example/x", "a\nb", "a\x1bb"],
)
def test_invalid_paths(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that leads out of the directory, or contains control characters, is refused as a setting, by name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="--open"):
        settings.load(Context(), open=path)
    monkeypatch.setenv("INVOKE_NOTEBOOK_OPEN", path)
    with pytest.raises(ConfigError, match="INVOKE_NOTEBOOK_OPEN"):
        settings.load(Context())
