"""How anything gets to a host: the connection, what proves both ends of it, and what runs through it."""
