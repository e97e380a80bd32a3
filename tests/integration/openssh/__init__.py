"""OpenSSH's sshd as the gateway and as the host behind it."""
