"""The toolkit of the tests: servers, users, networks, faults, waits."""
