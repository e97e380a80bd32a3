"""The fixtures of the toolkit, for every test."""

import pytest

# Before their import, so that their failed assertions show the values.
pytest.register_assert_rewrite("tests.kit")

pytest_plugins = (
    "tests.kit.leaks",
    "tests.kit.editor_clients",
    "tests.kit.fixtures",
    "tests.kit.forwarding",
    "tests.kit.markers",
    "tests.kit.modules",
    "tests.kit.nested_transports",
    "tests.kit.pam_login",
    "tests.kit.remote_modules",
    "tests.kit.slurm.fixtures",
    "tests.kit.trust_user",
    "tests.kit.users",
)
