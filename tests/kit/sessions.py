"""Records of sessions."""

from notebooks_over_ssh.jupyter.session import Session


def make_session(host: str = "ashbury", **fields: object) -> Session:
    defaults: dict[str, object] = {
        "gateway": "sandbox", "user": "me", "host": host, "requested_host": "student.compute", "ssh_port": None,
        "host_key": "AAAA", "pid": 100, "process_start": "boot/1", "remote_port": 8888, "application": "notebook",
        "version": "7", "directory": "/home/me", "started": "2026-01-01T00:00:00Z", "certificate_pem": "",
    }  # fmt: skip
    return Session(**(defaults | fields))  # type: ignore[arg-type]
