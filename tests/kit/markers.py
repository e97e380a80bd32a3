"""Marks each test by the fixtures that it uses, so that `pytest -m` can select by a machine's programs and by
duration.
"""

import pytest

# Indirectly requested fixtures count too; `name[id]` is one value of a parametrized fixture.
FIXTURES = {
    "needs_root": {
        *("pam_network", "netns_network", "slurm_site", "accounted_site"),
        *("gateway_site[dropbear]", "forwarder[dropbear]", "other_host"),
    },
    "needs_sshd": {"packages", "simulated_packages", "gateway_site[sshd]", "gateway_site[dropbear]"},
    "needs_browser": {"browser"},
    "slow": {
        "packages", "simulated_packages", "gateway_site", "data_home", "fresh", "connection", "_secured_user",
        "fresh_user", "sandbox_user", "user", "notebook6_venv", "scanner", "poetry",
        "host_environment", "browser", "wheel", "node_client", "python_client",
    },
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # before `-m` deselects by the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the marks."""
    for item in items:
        used_fixtures = set(getattr(item, "fixturenames", ()))
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        used_fixtures |= {f"{name}[{value}]" for name, value in parameters.items() if isinstance(value, str)}
        for mark, fixtures in FIXTURES.items():
            if used_fixtures & fixtures:
                item.add_marker(mark)
