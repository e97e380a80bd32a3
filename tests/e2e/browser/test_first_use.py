"""First use in a browser: certificate warning, `trust`, login, plot, saved notebook, and the warning again after
`untrust`.
"""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.kit.bidi import CONTROL, NavigationRefused, Page
from tests.kit.browsers import READY, Browser, log_in
from tests.kit.certificates import certificate, new_key, pem
from tests.kit.cli import User, assert_success
from tests.kit.wait import wait_until

PLOT = "!!document.querySelector('.jp-OutputArea-output img')?.naturalWidth"


def test_trust_notebook_untrust(browser: Browser, user: User, address: str) -> None:
    """The browser warns before `trust` and not after it; the notebook runs, is saved and survives a reload; then it
    warns again.
    """
    with browser.running() as page:
        assert_warned(address, page, browser)
        browser.save_screenshot(page, "1-warning")
    assert_success(user.fab("trust"))

    notebook = user.remote_home / "mlpractical/plots.ipynb"
    notebook.write_bytes(strip_outputs(notebook))
    with browser.running() as page:
        page.open(f"{address}/notebooks/plots.ipynb")
        browser.save_screenshot(page, "2-login")
        log_in(page)
        page.wait_for(READY)
        assert not page.evaluate(PLOT)
        page.click(".lm-MenuBar-itemLabel", "Run")
        page.click(".lm-Menu-itemLabel", "Run All Cells")
        page.wait_for(PLOT)
        host = user.only_record()["host"]
        assert host in page.evaluate("document.querySelector('.jp-OutputArea-output').textContent")
        browser.save_screenshot(page, "3-plot")
        page.press(CONTROL, "s")
        wait_until(lambda: b"image/png" in notebook.read_bytes(), "the plot is saved")
        page.reload()
        page.wait_for(PLOT)

    assert "removed the certificate from" in assert_success(user.fab("untrust")).stdout
    with browser.running() as page:
        assert_warned(address, page, browser)


def test_nothing_else_is_trusted(browser: Browser, user: User, address: str, tmp_path: Path) -> None:
    """A certificate for localhost that the trusted certificate's key signed is not trusted: it is no CA."""
    with browser.running():
        pass  # Firefox creates its store at its first start
    assert_success(user.fab("trust"))
    with serve_certificate(signed_by_server(user, tmp_path)) as mitm_server, browser.running() as page:
        page.open(address)
        with pytest.raises(NavigationRefused, match=r"CERT|KEY_USAGE"):
            page.open(mitm_server)


def assert_warned(address: str, page: Page, browser: Browser) -> None:
    """The browser does not open the page, since it does not trust the certificate."""
    with pytest.raises(NavigationRefused, match=browser.kind.unknown):
        page.open(address)


def strip_outputs(notebook: Path) -> bytes:
    """The notebook without outputs and execution counts."""
    content = json.loads(notebook.read_text())
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(content).encode()


def signed_by_server(user: User, folder: Path) -> Path:
    """A key, and a certificate for localhost signed by the server's key in the name of its certificate."""
    theirs = (user.jupyter_config.parent / "notebooks-over-ssh/server.pem").read_bytes()
    signer = load_pem_private_key(theirs, None)
    assert isinstance(signer, EllipticCurvePrivateKey)
    key = new_key()
    leaf = certificate(key, issuer="notebook server over SSH", signer=signer)
    file = folder / "impostor.pem"
    file.write_text(pem(key) + leaf + user.only_record()["certificate_pem"])
    return file


@contextmanager
def serve_certificate(key_and_chain: Path) -> Iterator[str]:
    """A server with this certificate; yields its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key_and_chain)
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
