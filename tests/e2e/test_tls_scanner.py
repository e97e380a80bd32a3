"""A TLS scanner finds no fault with the server, except that its certificate is self-signed."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.certificate_chains import CertificateSite, make_signed
from tests.kit.cli import User, assert_success, port_in, run
from tests.kit.ports import free_port
from tests.kit.wait import TIMEOUT_S

# OpenSSL offers these two besides Mozilla's list; they are stronger, and Jupyter has no setting for curves.
MORE_THAN_ASKED_FOR = {"X448", "secp521r1"}


@pytest.fixture(autouse=True)
def _no_session_is_left(user: User) -> Iterator[None]:
    pem = user.jupyter_config.parent / "notebooks-over-ssh/server.pem"
    before = pem.read_bytes()
    yield
    user.stop_all_sessions()
    pem.write_bytes(before)


def scan(scanner: Path, port: int, folder: Path, *options: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The scanner's report, and by name what does not comply with Mozilla's recommended configuration for servers.

    The complaint about curves is left out if it is only about stronger ones.
    """
    report = folder / "found.json"
    command = (str(scanner), "--mozilla_config=intermediate", f"--json_out={report}", *options)
    result = run(*command, f"localhost:{port}", timeout=2 * TIMEOUT_S, check=False)
    (server,) = json.loads(report.read_text())["server_scan_results"]
    assert server["scan_status"] == "COMPLETED", result.stdout + result.stderr
    _, marker, compliance = result.stdout.partition("COMPLIANCE AGAINST TLS CONFIGURATION")
    assert marker, result.stdout
    complaints = dict(re.findall(r"\* (\w+): (.+)", compliance))
    curves = complaints.pop("tls_curves", "")
    if curves:
        match = re.fullmatch(r"TLS curves (\{.+\}) are supported, but should be rejected\.", curves)
        assert match and set(ast.literal_eval(match[1])) <= MORE_THAN_ASKED_FOR, curves
    return server["scan_result"], complaints


def test_generated_certificate(user: User, scanner: Path, tmp_path: Path) -> None:
    """The scanner reports only the missing path to a CA, and no version, cipher, key, date or known attack."""
    local_port, remote_port = free_port(), str(free_port())
    up = ("up", "--detach", "--local-port", str(local_port))
    assert_success(user.fab(*up, INVOKE_NOTEBOOK_REMOTE_PORT=remote_port))
    report, complaints = scan(scanner, local_port, tmp_path)
    assert set(complaints) == {"certificate_path_validation"}, complaints

    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert report[f"{version}_cipher_suites"]["result"]["accepted_cipher_suites"] == []
    for version in ("tls_1_2", "tls_1_3"):
        assert report[f"{version}_cipher_suites"]["result"]["accepted_cipher_suites"]
    assert not report["heartbleed"]["result"]["is_vulnerable_to_heartbleed"]
    assert not report["openssl_ccs_injection"]["result"]["is_vulnerable_to_ccs_injection"]
    assert report["robot"]["result"]["robot_result"].startswith("NOT_VULNERABLE")
    assert not report["tls_compression"]["result"]["supports_compression"]
    assert report["session_renegotiation"]["result"]["supports_secure_renegotiation"]
    assert not report["session_renegotiation"]["result"]["is_vulnerable_to_client_renegotiation_dos"]
    (deployment,) = report["certificate_info"]["result"]["certificate_deployments"]
    assert deployment["received_chain_has_valid_order"] and not deployment["verified_certificate_chain"]


def test_site_certificate(user: User, scanner: Path, tmp_path: Path) -> None:
    """With a certificate of a CA that it trusts, the scanner reports nothing."""
    root = make_signed("the root", ca=True)
    certificate_site = CertificateSite(root, make_signed("the one below", root, ca=True), tmp_path)
    leaf = certificate_site.leaf()
    chain, key = certificate_site.files([leaf, certificate_site.intermediate], leaf.key)
    (tmp_path / "root.pem").write_text(root.pem)
    assert_success(user.fab("secure", "--certificate", str(chain), "--key", str(key)))
    port = port_in(assert_success(user.fab("up", "--detach", INVOKE_NOTEBOOK_REMOTE_PORT=str(free_port()))))
    report, complaints = scan(scanner, port, tmp_path, f"--certinfo_ca_file={tmp_path / 'root.pem'}")
    assert complaints == {}
    (deployment,) = report["certificate_info"]["result"]["certificate_deployments"]
    stores = {path["trust_store"]["path"]: path for path in deployment["path_validation_results"]}
    assert stores[str(tmp_path / "root.pem")]["was_validation_successful"]
