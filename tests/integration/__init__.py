"""Tests against real servers: sshd, Jupyter, other accounts, other gateways."""
