"""The same way through other gateways: the practice network's, OpenSSH's, dropbear's; and several in a row."""
