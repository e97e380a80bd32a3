"""Other gateways: the sandbox's, OpenSSH's, dropbear's; and chains of several."""
