"""SSH connections: routes, host key verification, authentication, and programs on the host."""
