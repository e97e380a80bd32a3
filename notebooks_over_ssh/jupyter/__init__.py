"""What the steps move: the server, what protects it, and the session that remembers both."""
