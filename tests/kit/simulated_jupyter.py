"""A small HTTPS server in place of Jupyter, for tests of the way to the server; it starts in a tenth of the time.

It takes Jupyter's command line, writes Jupyter's server info file, and gives Jupyter's answers to the requests that
this project sends. It has no kernels and no pages. Its own file is run, so it imports nothing but the standard library.
"""

import contextlib
import json
import os
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

_LAUNCHER = """\
#!/bin/sh
exec {python} -I -S "$0.py" "$@"
"""
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
MAX_PORTS = 100


def install(environment: Path) -> None:
    """Replace the programs of Jupyter's applications in an environment."""
    for program in environment.glob("bin/jupyter-*"):
        program.write_text(_LAUNCHER.format(python=environment / "bin/python"))
        program.with_name(f"{program.name}.py").write_bytes(Path(__file__).read_bytes())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0
    token = ""

    def do_GET(self) -> None:
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin", "")
        is_known = self.headers.get("Authorization") == f"token {self.token}"
        if urlsplit(f"//{host}").hostname not in LOCAL_NAMES:
            self._answer(403)
        elif origin and urlsplit(origin).netloc != host:
            self._answer(404)
        elif self.path == "/api":
            self._answer(200, {"version": "2"})
        elif self.path.startswith("/api/"):
            self._answer(200 if is_known else 403, [])
        else:
            self._answer(200 if self.path == "/login" else 404)

    def _answer(self, status: int, content: object = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _bind(port: int) -> ThreadingHTTPServer:
    """Listen on the port, or else on the next one that is free."""
    for candidate in range(port, port + MAX_PORTS):
        with contextlib.suppress(OSError):
            return ThreadingHTTPServer(("127.0.0.1", candidate), _Handler)
    raise SystemExit("no available port could be found")


def main() -> None:
    """Serve until the process is terminated."""
    options = {
        name.rpartition(".")[2]: value
        for name, separator, value in (word.partition("=") for word in sys.argv[1:])
        if separator
    }
    _Handler.token = Path(os.environ["JUPYTER_TOKEN_FILE"]).read_text().strip()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["certfile"], options["keyfile"])
    with _bind(int(options["port"])) as server:
        # The thread of the connection does the handshake.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        info = Path(os.environ["JUPYTER_RUNTIME_DIR"], f"jpserver-{os.getpid()}.json")
        part = info.with_suffix(".part")
        part.write_text(json.dumps({"port": server.server_port, "pid": os.getpid()}))
        part.rename(info)
        print(f"the simulated server listens on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
