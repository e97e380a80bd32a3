"""The address of a tunnel's plain port, and its token, which is in a file that only the user can read."""

from notebooks_over_ssh import state_files
from notebooks_over_ssh.jupyter.session import Session, Tunnel, plain_token_file


def base_url(tunnel: Tunnel) -> str | None:
    """The address without the token; None without a plain port."""
    # Not localhost, a name that some programs resolve to another address.
    return None if tunnel.plain_port is None else f"http://127.0.0.1:{tunnel.plain_port}/"


def url_with_token(session: Session, tunnel: Tunnel) -> str | None:
    """The address with the token, which gives full access; None without a plain port. Raises TaskError."""
    content = state_files.read(plain_token_file(session))
    base = base_url(tunnel)
    return None if base is None or content is None else f"{base}?token={content.decode().strip()}"


def save_token(session: Session, token: str) -> None:
    """Write the token of the session's tunnel. Raises TaskError."""
    state_files.write(plain_token_file(session), f"{token}\n".encode())
