"""The Jupyter server on the host: its sessions, security, certificate and verification."""
