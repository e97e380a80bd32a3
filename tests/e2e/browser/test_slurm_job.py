"""A server in a Slurm job, in a real browser: its page opens when the job has run up the queue."""

import json
from pathlib import Path

import pytest

from tests.kit.browser_recorder import Recorder
from tests.kit.browsers import KINDS, READY, Browser, log_in, run_cell
from tests.kit.cli import assert_success
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
