"""A server in a Slurm job, in a real browser: its page opens when the job has run up the queue."""

import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from tests.kit.browser_recorder import Recorder
from tests.kit.browsers import KINDS, READY, Browser, log_in, run_cell
from tests.kit.cli import assert_success, port_in
from tests.kit.plain_client import plain_address
from tests.kit.slurm.site import ClusterUser
from tests.kit.users import PASSWORD
from tests.kit.wait import TIMEOUT_S, wait_until

NOTEBOOK = {
    "cells": [{"cell_type": "markdown", "id": "first", "metadata": {}, "source": "# On a GPU"}],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
CELL = "import os; print('on', os.uname().nodename, os.environ['CUDA_VISIBLE_DEVICES'])"
# Saves a file with the page's own cookies, as its editor does.
SAVE = """
fetch("/api/contents/saved.txt", {
    method: "PUT",
    headers: {"X-XSRFToken": document.cookie.match(/_xsrf=([^;]+)/)[1]},
    body: JSON.stringify({type: "file", format: "text", content: ""}),
}).then((response) => response.status)
"""
JOB_CELL = "import os; print('first', os.environ['SLURM_JOB_ID'])"


@pytest.fixture
def user(cluster_user: ClusterUser) -> ClusterUser:
    """The user of the browser."""
    return cluster_user


@pytest.mark.parametrize("browser", KINDS[:1], indirect=True, ids=lambda kind: kind.name)
def test_from_the_queue_to_a_page(
    browser: Browser, user: ClusterUser, another_cluster_user: ClusterUser, tmp_path: Path
) -> None:
    """`up` waits behind another job, then opens a page that the browser trusts, whose kernel is on the node and has the
    job's GPU; a client of the plain port finds the same.
    """
    user.account.write("mlpractical/gpu.ipynb", json.dumps(NOTEBOOK))
    assert_success(user.fab("secure", "--password-file", "-", stdin=f"{PASSWORD}\n"))
    user.configure(notebook={"open_browser": True, "launcher": "slurm", "on_exit": "stop"})
    recorder = Recorder(tmp_path)
    words = ("up", "--partition", "gpu", "--gpus", "1", "--plain", "--trust", "--open", "gpu.ipynb")
    with (
        another_cluster_user.running_job("--partition=gpu", "--exclusive"),
        user.running("fab", *words, **recorder.variables) as up,
    ):
        assert up.stdout
        assert "it waits for free resources" in next(line for line in up.stdout if "is queued" in line)
        assert recorder.take_urls() == []
        another_cluster_user.cluster.cancel_all(another_cluster_user.account)
        wait_until(
            lambda: any(session["tunnel"] == "open" for session in user.status()),
            "the tunnel is open",
            2 * TIMEOUT_S,
        )
        with browser.running() as page:
            page.open(recorder.wait_for_url())
            log_in(page)
            page.wait_for(READY)
            assert run_cell(page, CELL, "on") == "on gpu1 0"
        with plain_address(user).kernel() as kernel:
            assert kernel.run(CELL).text == "on gpu1 0\n"
    assert user.status() == []
    assert user.cluster.active_jobs(user.account) == []


@pytest.mark.parametrize("browser", KINDS[:1], indirect=True, ids=lambda kind: kind.name)
def test_page_after_the_time_limit(browser: Browser, user: ClusterUser) -> None:
    """When the job has reached its time limit, the open page loses its kernel and stays logged in: without a reload it
    saves to the server of the next job, and starts a kernel there.
    """
    user.account.write("mlpractical/gpu.ipynb", json.dumps(NOTEBOOK))
    assert_success(user.fab("secure", "--password-file", "-", stdin=f"{PASSWORD}\n"))
    words = ("up", "--slurm", "--detach", "--renew-job", "--partition", "gpu", "--gpus", "1", "--trust")
    port = port_in(assert_success(user.fab(*words)))
    before = user.only_session()
    with browser.running() as page:
        page.open(f"https://localhost:{port}/notebooks/gpu.ipynb")
        log_in(page)
        page.wait_for(READY)
        assert run_cell(page, JOB_CELL, "first") == f"first {before['job']}"
        # The limit is a minute away when Slurm sends its signal.
        user.cluster.end_in(str(before["job"]), 60)
        wait_until(lambda: is_renewed(user, before), "the tunnel leads to the next job", 2 * TIMEOUT_S)
        page.wait_for("document.body.innerText.includes('No Kernel')")
        assert page.evaluate(SAVE) == HTTPStatus.CREATED
        page.click(".jp-KernelName", "No Kernel")
        page.click(".jp-Dialog-button", "Select")
        page.wait_for(READY)
        after = user.only_session()["job"]
        assert run_cell(page, JOB_CELL.replace("first", "next"), "next") == f"next {after}"
    assert_success(user.fab("stop"))
    assert user.status() == []


def is_renewed(user: ClusterUser, before: dict[str, Any]) -> bool:
    """Whether the tunnel is open to the server of another job."""
    session = user.only_session()
    return session["tunnel"] == "open" and bool(session["job"] != before["job"])
