"""The path of what the browser opens: a file or folder below the server's directory."""

from notebooks_over_ssh.errors import ConfigError


def parse_notebook_path(text: str, option_name: str) -> str:
    """Normalize the path; "" for the directory itself. `option_name` is its name in messages.

    Raises ConfigError if the path is not below the directory.
    """
    names = [name for name in text.split("/") if name not in ("", ".")]
    if text.startswith(("/", "~")):
        raise ConfigError(
            f"{option_name} must be below notebook.directory, not {text!r}",
            hint="use a path relative to it, such as week1/plots.ipynb",
        )
    if ".." in names:
        raise ConfigError(
            f"{option_name} is outside notebook.directory: {text!r}",
            hint="set notebook.directory to a parent folder of both",
        )
    return "/".join(names)
