"""The plain port: HTTP on this machine's loopback interface, for clients that refuse the server's certificate.

The tunnel's process is the TLS client. `port` opens the port and `proxy` listens there; `client_connection` relays a
client's connection to one to the server (`server_connection`). `http_relay` has the HTTP between the two, without I/O,
and `credentials` puts the server's own token in place of the port's.
"""
