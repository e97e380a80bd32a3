"""Where in Jupyter's pages a notebook or a folder is."""

from urllib.parse import quote

from notebooks_over_ssh.config.notebook_path import parse_notebook_path
from notebooks_over_ssh.jupyter.session import Session, Tunnel


def build_url(path: str, session: Session, tunnel: Tunnel) -> str:
    """The URL of a notebook, another file or a folder below the server's directory; for "" that of the first page.

    No secret is in it. An application without pages has just the one URL. Raises ConfigError when the path leads elsewhere.
    """
    path = parse_notebook_path(path, "the page")
    if not path or session.application == "server":
        return tunnel.url
    # RFC 3986, section 3.3: all but letters, digits and -._~ is encoded in the name of each folder and file.
    encoded_path = "/".join(quote(name, safe="") for name in path.split("/"))
    if session.application == "lab":
        return f"{tunnel.url}lab/tree/{encoded_path}"
    # Of notebook 6 and 7 alike: /tree leads on to whatever it is, /notebooks opens a notebook at once.
    return f"{tunnel.url}{'notebooks' if path.endswith('.ipynb') else 'tree'}/{encoded_path}"
