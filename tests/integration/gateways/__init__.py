"""The same way through other gateways: the sandbox's, OpenSSH's, dropbear's; and several in a row."""
