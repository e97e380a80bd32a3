"""Uses a login that another process holds, by OpenSSH's multiplexing protocol (PROTOCOL.mux in its source)."""
