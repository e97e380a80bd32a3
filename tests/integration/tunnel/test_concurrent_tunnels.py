"""Two commands that open a tunnel for one session at the same time end up with one tunnel."""

import time
from concurrent.futures import ThreadPoolExecutor

import psutil

from notebooks_over_ssh.tunnel.tunnel import LOCK_TIMEOUT_S
from tests.kit.cli import assert_success, port_in
from tests.kit.proxied_tunnel import MB, ProxiedNetwork, running_workload
from tests.kit.wait import elapsed, wait_until


def test_two_in_the_background(proxied: ProxiedNetwork) -> None:
    """The second command waits for the first, however long that takes, and reuses its tunnel."""
    with running_workload(proxied, MB) as work:
        psutil.Process(work.pid).terminate()
        wait_until(lambda: not proxied.record(), "the first tunnel has ended")
        proxied.first.freeze()
        frozen_at = time.monotonic()
        with ThreadPoolExecutor(2) as both:
            results = [both.submit(proxied.user.fab, "tunnel", "--detach") for _ in range(2)]
            wait_until(
                elapsed(frozen_at, LOCK_TIMEOUT_S + 2), "the second has waited longer than LOCK_TIMEOUT_S"
            )
            proxied.first.unfreeze()
        ports = {port_in(assert_success(one.result())) for one in results}
        assert ports == {proxied.record()["local_port"]}
        proxied.wait_for("open")
