"""Tasks for maintainers: `invoke -r dev --list`."""
