"""What can be opened in the browser: a notebook, another file or a folder below the server's directory."""

from notebooks_over_ssh.errors import ConfigError


def parse_notebook_path(text: str, option_name: str) -> str:
    """The path without dots and doubled slashes, "" for none; `option_name` is how messages call it.

    Raises ConfigError when it leads out of the directory, by whatever sign.
    """
    names = [name for name in text.split("/") if name not in ("", ".")]
    if text.startswith(("/", "~")):
        raise ConfigError(
            f"{option_name} must be below notebook.directory, not {text!r}",
            hint="name it as from there, as in plots.ipynb or week1/plots.ipynb",
        )
    if ".." in names:
        raise ConfigError(
            f"{option_name} leads out of notebook.directory: {text!r}",
            hint="set notebook.directory to the folder that has both",
        )
    return "/".join(names)
