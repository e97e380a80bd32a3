"""Uses a Jupyter server with the clients from PyPI; `venv/bin/python -I python_clients.py` where they are installed.

Reads the address, with its token, from standard input; prints the results as JSON.
"""

import json
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit


def main() -> None:
    """Use both clients. No import of this project: the program runs in a venv of its own."""
    from jupyter_kernel_client import JupyterKernelClient
    from jupyter_server_client import JupyterServerClient

    url = urlsplit(sys.stdin.read().strip())
    base, (token,) = f"{url.scheme}://{url.netloc}", parse_qs(url.query)["token"]
    results: dict[str, Any] = {}
    with JupyterServerClient(base, token) as client:
        results["version"] = bool(client.get_version().version)
        text = "a line of a program's\n" * 50_000
        client.contents.create_file("from-a-program.txt", text)
        results["saved"] = client.contents.get("from-a-program.txt").content == text
        client.contents.delete("from-a-program.txt")
        with JupyterKernelClient(server_url=base, token=token) as kernel:
            results["printed"] = kernel.execute("kept = 6; print(kept * 7)")["outputs"][0]["text"]
            results["error"] = kernel.execute("1 / 0")["status"]
            results["listed"] = kernel.id in [other.id for other in client.kernels.list_kernels()]
            kernel.restart()
            results["restarted"] = kernel.execute("print('kept' in globals())")["outputs"][0]["text"]
    with JupyterServerClient(base, "0" * 48, max_retries=0) as client:
        try:
            client.kernels.list_kernels()
        except Exception as error:  # noqa: BLE001 # any, for the test to see
            results["refused"] = type(error).__name__
    print(json.dumps(results))


if __name__ == "__main__":
    main()
