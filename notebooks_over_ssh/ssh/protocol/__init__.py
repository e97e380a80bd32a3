"""The SSH protocol (RFC 4253, RFC 4254): packets, channels and flow control, over Paramiko's key exchange."""
