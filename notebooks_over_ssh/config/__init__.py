"""How settings are read, checked and named; `notebooks_over_ssh.config.settings` says which settings there are."""
