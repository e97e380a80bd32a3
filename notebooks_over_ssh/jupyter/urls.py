"""The URLs of notebooks and folders in Jupyter."""

from urllib.parse import quote

from notebooks_over_ssh.config.notebook_path import parse_notebook_path
from notebooks_over_ssh.jupyter.session import Session, Tunnel


def build_url(path: str, session: Session, tunnel: Tunnel) -> str:
    """The URL of a notebook, file or folder below the server's directory, or of the first page for "".

    Contains no secret. `jupyter server` has only one page. Raises ConfigError if the path is not below the directory.
    """
    path = parse_notebook_path(path, "the page")
    if not path or session.application == "server":
        return tunnel.url
    # RFC 3986, section 3.3: in each segment, all characters but letters, digits and -._~ are percent-encoded.
    encoded_path = "/".join(quote(name, safe="") for name in path.split("/"))
    if session.application == "lab":
        return f"{tunnel.url}lab/tree/{encoded_path}"
    # In notebook 6 and 7 alike, /tree redirects to the right page, and /notebooks opens a notebook directly.
    return f"{tunnel.url}{'notebooks' if path.endswith('.ipynb') else 'tree'}/{encoded_path}"
