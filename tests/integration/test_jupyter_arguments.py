"""Jupyter arguments in the settings, as the programs read them."""

from tests.kit.cli import User, assert_error


def test_insecure_argument(idle_user: User) -> None:
    """A Jupyter argument that weakens the protection exits with 2 before anything starts, from a file or a variable."""
    settings = idle_user.home / "more.yaml"
    settings.write_text("notebook: {arguments: [--ServerApp.ip=0.0.0.0]}")
    assert_error(idle_user.fab("-f", str(settings), "serve"), 2, "--ServerApp.ip")
    assert_error(idle_user.fab("serve", INVOKE_NOTEBOOK_ARGUMENTS="[--allow-origin=*]"), 2, "--allow-origin")
    assert not idle_user.sandbox.exists()
