"""Forwards local ports to ports on the host, over a Connection: what `ssh -L` does, without ever having to be restarted.

This is its whole interface. What arrives for a connection goes to its local socket in the thread that decrypted it; one more
thread reads all local sockets, a block of each in turn, so that no transfer keeps a small message waiting
(docs/design.md).
"""

from notebooks_over_ssh.tunnel.forwarder import Forwarder
from notebooks_over_ssh.tunnel.listener import FIRST_PORT, Listener, listen, listen_at_or_after

__all__ = ["FIRST_PORT", "Forwarder", "Listener", "listen", "listen_at_or_after"]
