"""How settings are read, checked and named; `fabfile.settings` says which settings there are."""
