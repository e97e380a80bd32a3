"""A job that takes the place of another one asks for the same."""

from tests.kit.cli import assert_success
from tests.kit.slurm.site import ClusterUser

PASSWORD = "a password of the tests"


def _asked_for(user: ClusterUser) -> tuple[str, str, str]:
    """The partition, time limit and generic resources of the user's only job."""
    (number,) = user.cluster.active_jobs(user.account)
    job = user.cluster.job(number)
    return job["Partition"], job["TimeLimit"], job.get("TresPerJob", "")


def test_restart(cluster_user: ClusterUser) -> None:
    """`secure --restart` starts a job with the flags that the last one was submitted with, and so does `up --restart`
    apart from its own flags. After `stop`, `serve` uses the settings.
    """
    assert_success(cluster_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    words = ("serve", "--slurm", "--partition", "gpu", "--gpus", "1", "--time", "7")
    assert_success(cluster_user.fab(*words))
    before = cluster_user.only_session()
    asked = _asked_for(cluster_user)
    assert asked == ("gpu", "00:07:00", "gres:gpu:1")
    assert_success(
        cluster_user.fab("secure", "--renew", "--password-file", "-", "--restart", stdin="another one")
    )
    after = cluster_user.only_session()
    assert after["job"] != before["job"]
    assert after["certificate_sha256"] != before["certificate_sha256"]
    assert _asked_for(cluster_user) == asked
    words = ("up", "--detach", "--renew", "--restart", "--time", "8", "--password-file", "-")
    assert_success(cluster_user.fab(*words, stdin="a third one"))
    assert cluster_user.only_session()["job"] != after["job"]
    assert _asked_for(cluster_user) == ("gpu", "00:08:00", "gres:gpu:1")
    assert_success(cluster_user.fab("stop"))
    assert_success(cluster_user.fab("serve", "--slurm"))
    assert _asked_for(cluster_user) == ("debug", "00:10:00", "")
    assert_success(cluster_user.fab("stop"))
