"""An account's start-up files and locale neither reach the replies nor change which folder is used."""

from pathlib import Path

import pytest

from tests.kit.cli import assert_success, run
from tests.kit.gateway_servers import find_program
from tests.kit.pam_sshd import PamNetwork

NOISE = """echo 'Welcome! There is a maintenance on Monday.'
echo '0123456789abcdef {"problem": "jupyter-missing"}'
echo 'to be seen' >&2
"""
LATIN_1 = "en_GB.ISO-8859-1"


@pytest.mark.parametrize(
    ("shell", "name", "text"),
    [
        pytest.param("bash", ".bashrc", NOISE, id="bash prints"),
        pytest.param("zsh", ".zshenv", NOISE, id="zsh prints"),
        pytest.param("tcsh", ".tcshrc", NOISE.replace(" >&2", ""), id="tcsh prints"),
        pytest.param("fish", ".config/fish/config.fish", NOISE, id="fish prints"),
        pytest.param(
            "bash",
            ".bashrc",
            '[ -n "$BASH_EXECUTION_STRING" ] && exec zsh -c "$BASH_EXECUTION_STRING"\n',
            id="bash becomes zsh",
        ),
        pytest.param(
            "zsh",
            ".zshenv",
            '[[ -n $ZSH_EXECUTION_STRING ]] && exec tcsh -c "$ZSH_EXECUTION_STRING"\n',
            id="zsh becomes tcsh",
        ),
        pytest.param("bash", ".bashrc", "set -eu; cd /; unset TERM; umask 000\n", id="bash is strict"),
    ],
)
def test_start_up_file(pam_network: PamNetwork, shell: str, name: str, text: str) -> None:
    """A start-up file may print, run exec or set options; its output is not taken for a reply of the host."""
    account = pam_network.account(shell)
    marker = account.home / "it ran"
    account.write(name, f"touch '{marker}'\n{text}")
    pam_network.start()
    pam_network.configure(user=account.name)
    result = assert_success(pam_network.user.fab("secure"))
    assert "Monday" not in result.stdout
    assert marker.exists(), f"{shell} does not read {name} here"
    state = account.home / ".local/state/notebooks-over-ssh"
    loose = [path for path in (state, *state.rglob("*")) if path.is_file() and path.stat().st_mode & 0o077]
    assert not loose


@pytest.fixture
def latin_1(tmp_path: Path) -> Path:
    """A folder with a single-byte locale."""
    folder = tmp_path / "locales"
    folder.mkdir()
    if not find_program("localedef") or not Path("/usr/share/i18n/locales/en_GB").exists():
        pytest.skip("needs localedef and the definitions of locales (locales)")
    run("localedef", "-i", "en_GB", "-f", "ISO-8859-1", folder / LATIN_1)
    charmap = run("locale", "charmap", env={"LOCPATH": str(folder), "LC_ALL": LATIN_1})
    assert charmap.stdout == "ISO-8859-1\n"
    return folder


@pytest.mark.parametrize("locale", ["C", LATIN_1])
def test_locale(pam_network: PamNetwork, latin_1: Path, locale: str) -> None:
    """Whatever the login's locale, the configured folder is the one with this name in UTF-8."""
    account = pam_network.account()
    directory = account.home / "Übungen ñ 数"
    directory.mkdir()
    account.own(directory)
    pam_network.expose(latin_1)
    pam_network.host_machine.environment = {"LOCPATH": str(latin_1), "LANG": locale, "LC_ALL": locale}
    pam_network.start()
    pam_network.configure(
        user=account.name, notebook={"host": pam_network.host_destination, "directory": f"~/{directory.name}"}
    )
    assert_success(pam_network.user.fab("secure", "serve"))
    session = pam_network.user.only_session()
    (server,) = [process for process in account.processes() if process.pid == session["pid"]]
    assert server.environ()["LC_ALL"] == locale
    assert (server.cwd(), session["directory"]) == (str(directory), str(directory))
    assert_success(pam_network.user.fab("stop"))
