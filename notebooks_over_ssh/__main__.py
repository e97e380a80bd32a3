"""`python -m notebooks_over_ssh`."""

from notebooks_over_ssh.cli import main

main()
