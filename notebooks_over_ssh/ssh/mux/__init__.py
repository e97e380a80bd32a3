"""Uses a login that another process holds: OpenSSH's multiplexing protocol (PROTOCOL.mux in its source)."""
