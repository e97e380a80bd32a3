"""The maintainers' own tasks: `invoke -r dev --list`."""
