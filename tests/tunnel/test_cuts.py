"""Whatever happens to the way, the tunnel is there again by itself, at the same address, and nothing was lost or wrong."""

import contextlib
import random
import time

import psutil
import pytest

from notebooks_over_ssh.tunnel.keepalive import PATIENCE_S, SILENCE_S
from tests.journey.program import succeeded
from tests.openssh.network import Server, wait_until
from tests.proofs.impostor import Loop
from tests.tunnel.relay import How, Relay
from tests.tunnel.way import MB, OUTAGE_PATIENCE_S, Download, Visit, Way, since, working

FROZEN_S = 60.0
CUTS = 100
# Between two cuts: often in the middle of coming back, sometimes after it.
LONGEST_BETWEEN_CUTS_S = 0.6


@pytest.mark.parametrize("hop", ["first", "second"])
def test_connection_cut(way: Way, hop: str) -> None:
    """A hop's TCP connection is reset, then another is ended: each time all goes on where it was. Who connects while
    there is no way waits, and is served when it is back.
    """
    relay = getattr(way, hop)
    with working(way, 50 * MB) as work:
        hows: tuple[How, ...] = ("reset", "end")
        for number, how in enumerate(hows, 1):
            with Download(work.window) as download:
                assert relay.cut(how) >= 1
                way.wait_until_noticed(number)
            assert download.error, "50 MB cannot have been on their way already"
            work.goes_on()

        relay.bar()
        way.wait_for("reconnecting")
        assert way.user.only_session()["tunnel"] == "reconnecting"
        before = relay.turned_away
        with Visit(work.window) as first, Visit(work.window) as second:
            way.wait_until(lambda: relay.turned_away >= before + 2, "it tries again and again")
            assert (first.status, second.status) == (0, 0)
            relay.admit()
        assert (first.status, second.status) == (200, 200)
        way.wait_until_noticed(3)
        work.goes_on()
        assert way.outages() == 3, way.log()


def test_gateway_killed(way: Way) -> None:
    """The gateway dies with all its logins, and comes back on the same port after a while; a file of 200 MB survives."""
    with working(way, 200 * MB) as work, Download(work.window) as download:
        kill(way.network.gateway)
        way.wait_for("reconnecting")
        download.finish()
        assert download.error, "200 MB cannot have been on their way already"
        with Visit(work.window) as visit:
            way.network.gateway.start()
        assert visit.status == 200
        way.wait_until_noticed(1)
        work.goes_on()


def test_gateway_moves(way: Way, loop: Loop) -> None:
    """The name of the gateway leads to another address from one moment to the next: the tunnel goes there."""
    way.network.known_hosts.write_text(
        way.network.known_hosts.read_text() + f"the-gateway {way.network.gateway.public_key}\n"
    )
    new = Relay(loop, way.network.gateway.port)
    with contextlib.closing(new):
        way.name_the_gateway("the-gateway", way.first)
        with working(way, 10 * MB) as work:
            way.first.bar()
            way.wait_for("reconnecting")
            way.name_the_gateway("the-gateway", new)
            way.wait_until_noticed(1)
            assert new.carried > 0
            work.goes_on()


def test_path_frozen(way: Way) -> None:
    """For 60 s nothing comes through and nothing says so: it is noticed meanwhile, and what was under way goes on."""
    with working(way, 50 * MB) as work, Download(work.window) as download:
        frozen_at = time.monotonic()
        way.first.freeze()
        way.wait_for("reconnecting")
        noticed_s = time.monotonic() - frozen_at
        with Visit(work.window) as visit:
            wait_until(since(frozen_at, FROZEN_S), FROZEN_S * 2, "60 s")
            assert visit.status == 0
            way.first.thaw()
        assert visit.status == 200
        download.finish()
        assert (download.error, download.digest) == (None, work.checksum)
        way.wait_until_noticed(1)
        work.goes_on()
    print(
        f"noticed after {noticed_s:.1f} s, back {time.monotonic() - frozen_at - FROZEN_S:.1f} s after the thaw"
    )


def test_cut_at_random_moments(way: Way) -> None:
    """A hundred cuts, of either hop and either kind, at random moments, also while the tunnel finds its way again."""
    seed = random.randrange(10**9)
    print(f"random seed {seed}")
    chance = random.Random(seed)
    with working(way, 10 * MB) as work:
        cuts = 0
        began = time.monotonic()
        while cuts < CUTS:
            pause_s = chance.uniform(0, LONGEST_BETWEEN_CUTS_S)
            wait_until(since(time.monotonic(), pause_s), OUTAGE_PATIENCE_S, "the next cut")
            relay = chance.choice([way.first, way.second])
            hows: list[How] = ["reset", "end"]
            cuts += relay.cut(chance.choice(hows))
            assert way.record()["waits_for_you"] == "", way.log()
            if way.record()["state"] == "reconnecting" and chance.random() < 0.5:
                way.wait_for("open")
        took_s = time.monotonic() - began
        outages = way.outages()
        wait_until(lambda: work.window.status("/api/kernels") == 200, OUTAGE_PATIENCE_S, "it is back")
        way.wait_for("open")
        work.goes_on()
    print(f"{CUTS} cuts in {took_s:.0f} s were {outages} outages")


def test_process_stopped(way: Way) -> None:
    """The tunnel's process is stopped for longer than all patience, as by a sleeping laptop, and goes on as if nothing was."""
    with working(way, 50 * MB) as work, Download(work.window) as download:
        process = psutil.Process(work.pid)
        process.suspend()
        stopped_at = time.monotonic()
        with Visit(work.window) as visit:
            wait_until(since(stopped_at, SILENCE_S + PATIENCE_S + 1), OUTAGE_PATIENCE_S, "patience ends")
            process.resume()
        assert visit.status == 200
        download.finish()
        work.ended_well_or_visibly(download)
        way.wait_for("open")
        work.goes_on()


def test_process_stopped_and_given_up(way: Way) -> None:
    """The gateway gives up the tunnel while its process is stopped; when it goes on, it logs in again."""
    gateway = way.network.gateway
    gateway.stop()
    gateway.start("ClientAliveInterval 1", "ClientAliveCountMax 2", *gateway.options)
    with working(way, MB) as work:
        process = psutil.Process(work.pid)
        logins = gateway.logins()
        process.suspend()
        gateway.wait_until_alone()
        process.resume()
        way.wait_until_noticed(1)
        assert gateway.logins() == logins + 1
        work.goes_on()


def test_gone_for_good(way: Way) -> None:
    """`stop` ends a tunnel at once that has lost its way, and nothing of it is left."""
    with working(way, MB):
        way.first.bar()
        way.wait_for("reconnecting")
        pid = way.record()["pid"]
        succeeded(way.user.fab("stop", "--force"))
        wait_until(lambda: not psutil.pid_exists(pid), OUTAGE_PATIENCE_S, "the tunnel's process has ended")
        assert way.user.status() == []


def kill(server: Server) -> None:
    """End an sshd and all its logins as a machine does that loses its power: none says goodbye."""
    family = server.children()
    assert server._process
    server._process.kill()
    for process in family:
        process.kill()
    server.stop()
