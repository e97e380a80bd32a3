"""After every kind of outage the tunnel reconnects by itself, at the same address, and no byte was lost or wrong."""

import contextlib
import random
import time

import psutil

from notebooks_over_ssh.tunnel.keepalive import KEEPALIVE_INTERVAL_S, KEEPALIVE_TIMEOUT_S
from tests.kit.cli import assert_success
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.proxied_tunnel import (
    MB,
    Download,
    ProxiedNetwork,
    background_request,
    running_workload,
)
from tests.kit.tcp_proxy import CutMode, TcpProxy
from tests.kit.wait import elapsed, wait_until

FROZEN_S = 60.0
CUTS = 100
# Between two cuts: often during a reconnect, sometimes after it.
MAX_BETWEEN_CUTS_S = 0.6


def test_connection_cut(proxied: ProxiedNetwork) -> None:
    """After each hop's TCP connection is reset or closed, everything continues. Connections made during the outage
    wait, and are served after it.
    """
    with running_workload(proxied, 50 * MB) as work:
        outages = 0
        hows: tuple[CutMode, ...] = ("reset", "end")
        for relay in (proxied.first, proxied.second):
            for how in hows:
                with Download(work.client) as download:
                    assert relay.cut(how) >= 1
                    outages += 1
                    proxied.wait_for_outages(outages)
                assert download.error, "50 MB cannot have been on their way already"
                work.assert_unchanged()

            relay.refuse()
            proxied.wait_for("reconnecting")
            assert proxied.user.only_session()["tunnel"] == "reconnecting"
            before = relay.refused_count
            with background_request(work.client) as first, background_request(work.client) as second:
                wait_for_refusals(proxied, relay, before + 2)
                assert not first.done() and not second.done()
                relay.resume()
            assert (first.result(), second.result()) == (200, 200)
            outages += 1
            proxied.wait_for_outages(outages)
            work.assert_unchanged()
            assert proxied.outages() == outages, proxied.log()


def wait_for_refusals(proxied: ProxiedNetwork, relay: TcpProxy, count: int) -> None:
    """Wait until the proxy has refused that many connections."""
    proxied.wait_until(lambda: relay.refused_count >= count, f"{count} attempts were refused")


def test_gateway_restarts_and_moves(proxied: ProxiedNetwork, loop: AsyncioThread) -> None:
    """When the gateway is killed with all its logins, and comes back on the same port, everything continues, apart from
    the download that was cut. The tunnel logs in again also when the gateway has disconnected it while its process was
    stopped, and where the gateway's name then leads. `stop` ends a disconnected tunnel at once, and leaves nothing.
    """
    gateway = proxied.network.gateway
    proxied.network.known_hosts.write_text(
        proxied.network.known_hosts.read_text() + f"the-gateway {gateway.public_key}\n"
    )
    new = TcpProxy(loop, gateway.port)
    with contextlib.closing(new):
        proxied.set_gateway_alias("the-gateway", proxied.first)
        with running_workload(proxied, 50 * MB) as work:
            with Download(work.client) as download:
                gateway.kill()
                proxied.wait_for("reconnecting")
                download.finish()
                assert download.error, "50 MB cannot have been on their way already"
                with background_request(work.client) as request:
                    gateway.start("ClientAliveInterval 1", "ClientAliveCountMax 2", *gateway.options)
                assert request.result() == 200
                proxied.wait_for_outages(1)
                work.assert_unchanged()
            work.checksum = proxied.file(MB)

            process = psutil.Process(work.pid)
            logins = gateway.logins()
            process.suspend()
            gateway.wait_until_no_clients()
            process.resume()
            proxied.wait_for_outages(2)
            assert gateway.logins() == logins + 1
            work.assert_unchanged()

            proxied.first.refuse()
            proxied.wait_for("reconnecting")
            proxied.set_gateway_alias("the-gateway", new)
            proxied.wait_for_outages(3)
            assert new.forwarded_bytes > 0
            work.assert_unchanged()

            new.refuse()
            proxied.wait_for("reconnecting")
            assert_success(proxied.user.fab("stop", "--force"))
            wait_until(lambda: not psutil.pid_exists(work.pid), "the tunnel's process has ended")
            assert proxied.user.status() == []
            new.resume()


def test_silence(proxied: ProxiedNetwork) -> None:
    """When nothing gets through for 60 s, and no error is reported, the tunnel notices, and connections continue
    after it. So they do after its process was stopped for longer than every timeout, as by a sleeping laptop.
    """
    with running_workload(proxied, 50 * MB) as work:
        with Download(work.client) as download:
            frozen_at = time.monotonic()
            proxied.first.freeze()
            proxied.wait_for("reconnecting")
            detection_s = time.monotonic() - frozen_at
            with background_request(work.client) as request:
                wait_until(elapsed(frozen_at, FROZEN_S), "the freeze lasts 60 s", timeout_s=FROZEN_S * 2)
                assert not request.done()
                proxied.first.unfreeze()
            assert request.result() == 200
            download.finish()
            assert (download.error, download.digest) == (None, work.checksum)
            proxied.wait_for_outages(1)
            work.assert_unchanged()
        recovery_s = time.monotonic() - frozen_at - FROZEN_S
        print(f"noticed after {detection_s:.1f} s, back {recovery_s:.1f} s after the network was")

        with Download(work.client) as download:
            process = psutil.Process(work.pid)
            process.suspend()
            stopped_at = time.monotonic()
            with background_request(work.client) as request:
                wait_until(
                    elapsed(stopped_at, KEEPALIVE_INTERVAL_S + KEEPALIVE_TIMEOUT_S + 1),
                    "the keepalive timeout has passed",
                )
                process.resume()
            assert request.result() == 200
            download.finish()
            work.assert_complete_or_failed(download)
            proxied.wait_for("open")
            work.assert_unchanged()


def test_random_cuts(proxied: ProxiedNetwork) -> None:
    """After a hundred cuts, of either hop and either kind, at random moments, also during a reconnect, everything
    works.
    """
    seed = random.randrange(10**9)
    print(f"random seed {seed}")
    rng = random.Random(seed)
    with running_workload(proxied, 10 * MB) as work:
        cuts = 0
        began = time.monotonic()
        while cuts < CUTS:
            pause_s = rng.uniform(0, MAX_BETWEEN_CUTS_S)
            wait_until(elapsed(time.monotonic(), pause_s), "the next cut")
            relay = rng.choice([proxied.first, proxied.second])
            hows: list[CutMode] = ["reset", "end"]
            cuts += relay.cut(rng.choice(hows))
            assert proxied.record()["login_required"] == "", proxied.log()
            if proxied.record()["state"] == "reconnecting" and rng.random() < 0.5:
                proxied.wait_for("open")
        took_s = time.monotonic() - began
        outages = proxied.outages()
        wait_until(lambda: work.client.status("/api/kernels") == 200, "the server answers")
        proxied.wait_for("open")
        work.assert_unchanged()
    print(f"{CUTS} cuts in {took_s:.0f} s were {outages} outages")
