"""Two that open the tunnel of one session at the same moment end up with one tunnel."""

import time
from concurrent.futures import ThreadPoolExecutor

import psutil

from notebooks_over_ssh.tunnel.tunnel import LOCK_TIMEOUT_S
from tests.journey.program import port_in, succeeded
from tests.openssh.network import wait_until
from tests.tunnel.way import MB, OUTAGE_PATIENCE_S, Way, since, working


def test_two_in_the_background(way: Way) -> None:
    """The second waits as long as the first needs, and finds its tunnel."""
    with working(way, MB) as work:
        psutil.Process(work.pid).terminate()
        wait_until(lambda: not way.record(), OUTAGE_PATIENCE_S, "the first tunnel has ended")
        way.first.freeze()
        frozen_at = time.monotonic()
        with ThreadPoolExecutor(2) as both:
            done = [both.submit(way.user.fab, "tunnel", "--detach") for _ in range(2)]
            wait_until(since(frozen_at, LOCK_TIMEOUT_S + 2), OUTAGE_PATIENCE_S, "the second waits for long")
            way.first.thaw()
        ports = {port_in(succeeded(one.result())) for one in done}
        assert ports == {way.record()["local_port"]}
        way.wait_for("open")
