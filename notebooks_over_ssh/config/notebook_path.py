"""What can be opened in the browser: a notebook, another file or a folder below the server's directory."""

from notebooks_over_ssh.errors import BadSetting


def parse_page(text: str, where: str) -> str:
    """The path without dots and doubled slashes, "" for none; `where` is how messages call it.

    Raises BadSetting when it leads out of the directory, by whatever sign.
    """
    names = [name for name in text.split("/") if name not in ("", ".")]
    if text.startswith(("/", "~")):
        raise BadSetting(
            f"{where} must be below notebook.directory, not {text!r}",
            hint="name it as from there, as in plots.ipynb or week1/plots.ipynb",
        )
    if ".." in names:
        raise BadSetting(
            f"{where} leads out of notebook.directory: {text!r}",
            hint="set notebook.directory to the folder that has both",
        )
    return "/".join(names)
